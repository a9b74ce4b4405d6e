"""Loaders: the share of a rank of one global batch after another.

Global batch t is samples [tG, (t+1)G) of the stream, whatever the number of ranks, workers and micro-batches. What a
rank gets of it is decided by arithmetic alone, so no process has to hear from another, and the whole state of a loader
is `consumed_samples`.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from math import gcd
from typing import TypeVar

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data_pipeline.streams.collate import deal, pack
from data_pipeline.streams.packed_shape import PackedShape, packed_shape
from data_pipeline.streams.packing import PackedBatch, unpack_buffers
from data_pipeline.streams.samples import Examples, PretrainingSamples

STATE_VERSION = 1
T = TypeVar("T")


class _StepBuffers(Dataset[Tensor]):
    """Map a first sample to this rank's micro-batches of the global batch that begins there, in one buffer."""

    def __init__(
        self, samples: PretrainingSamples, global_batch_size: int, shape: PackedShape, rank: int, world_size: int
    ) -> None:
        self.samples = samples
        self.global_batch_size = global_batch_size
        self.shape = shape
        self.rank = rank
        self.world_size = world_size

    def __getitem__(self, first_sample: int) -> Tensor:
        examples, hands = self._share(first_sample)
        own = self.samples
        return pack(examples, hands, self.shape, own.masking, own.vocabulary, first_sample, own.target_names)

    def _share(self, first_sample: int) -> tuple[Examples, list[np.ndarray]]:
        """Return the examples of this rank's group of ranks, and the rows of each of its own micro-batches.

        Samples sorted by lane are cut into as many groups as lanes and ranks have common divisors, so that with many
        ranks each reads only the lanes of its group. Within a group examples are dealt by length.
        """
        samples = np.arange(first_sample, first_sample + self.global_batch_size)
        place = self.samples.locate(samples)
        groups = gcd(self.samples.epoch_plan(int(place[0, 0])).num_lanes, self.world_size)
        by_lane = np.lexsort((samples, place[1], place[0])).reshape(groups, -1)
        ranks = self.world_size // groups
        own = by_lane[self.rank // ranks]
        examples = self.samples.find(samples[own], place[:, own])
        num_hands = len(own) // self.shape.num_examples
        first, per_rank = self.rank % ranks * (num_hands // ranks), num_hands // ranks
        return examples, deal(examples.spans.lengths, num_hands)[first : first + per_rank]


class _Steps(Sampler[int]):
    """First samples of successive global batches, without end."""

    def __init__(self, first_sample: int, global_batch_size: int) -> None:
        self._first_sample = first_sample
        self._global_batch_size = global_batch_size

    def __iter__(self) -> Iterator[int]:
        return count(self._first_sample, self._global_batch_size)


class PretrainingStream:
    """This rank's micro-batches of one global batch after another, for ever; `len` says how many the run will take.

    Args:
        samples: The training split.
        global_batch_size: Examples of one optimizer step, over all ranks.
        micro_batch_size: Examples of one forward and backward pass of one rank.
        num_steps: Optimizer steps of the whole run, those before a resume included.
        rank: Number of this process.
        world_size: Number of processes.
        num_workers: Loader processes; 0 reads in this one. Does not change the batches.
        pin_memory: Put the buffers in page-locked memory, for copies to a GPU that do not wait.
        num_shapes: Most shapes of the micro-batches, at the price of more filler; None rounds their sizes finely.
            Does not change the examples.
    """

    def __init__(
        self,
        samples: PretrainingSamples,
        global_batch_size: int,
        micro_batch_size: int,
        num_steps: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        num_shapes: int | None = None,
    ) -> None:
        if min(global_batch_size, micro_batch_size) < 1 or global_batch_size % (micro_batch_size * world_size):
            raise ValueError(
                f"data.global_batch_size={global_batch_size} is not a multiple of data.micro_batch_size="
                f"{micro_batch_size} times {world_size} processes"
            )
        self.samples = samples
        self.global_batch_size = global_batch_size
        self.num_steps = num_steps
        self.consumed_samples = 0
        shape = packed_shape(micro_batch_size, samples.seq_len, samples.usual_length, samples.masking, num_shapes)
        self._buffers = _StepBuffers(samples, global_batch_size, shape, rank, world_size)
        self._num_workers = num_workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        """Continue at `consumed_samples`, which counts the global batches handed out."""
        loader = DataLoader(
            self._buffers,
            batch_size=None,
            sampler=_Steps(self.consumed_samples, self.global_batch_size),
            num_workers=self._num_workers,
            pin_memory=self._pin_memory,
            prefetch_factor=4 if self._num_workers else None,
        )
        for buffer in _plain_errors(loader):
            self.consumed_samples += self.global_batch_size
            yield unpack_buffers(buffer, self.samples.target_names)

    def state_dict(self) -> dict[str, object]:
        """Return the whole state of the stream; the same on every rank."""
        return {
            "version": STATE_VERSION,
            "consumed_samples": self.consumed_samples,
            "global_batch_size": self.global_batch_size,
            "fingerprint": self.samples.fingerprint(),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue where `state` was taken; ValueError with the differences where it is of another stream."""
        own = self.samples.fingerprint()
        saved = state["fingerprint"]
        if not isinstance(saved, dict) or saved != own:
            raise ValueError(_difference(saved if isinstance(saved, dict) else {}, own))
        self.consumed_samples = int(str(state["consumed_samples"]))


def _plain_errors(batches: Iterable[T]) -> Iterator[T]:
    """Pass batches on; of the traceback that a worker process sends as its error only the message is kept."""
    try:
        yield from batches
    except ValueError as error:
        raise ValueError(str(error).rstrip().rsplit("ValueError: ", 1)[-1]) from None


def _difference(saved: dict[str, object], own: dict[str, object]) -> str:
    names = [name for name in own | saved if saved.get(name) != own.get(name)]
    listed = "; ".join(f"{name} was {saved.get(name)} and is {own.get(name)}" for name in names)
    return f"the checkpoint was made on another stream of examples, which cannot be continued: {listed}"


class ValidationStream:
    """One pass over the held-out split, the same masks every time, the same number of items on every rank.

    Args:
        samples: The validation split, not shuffled.
        micro_batch_size: Examples of one forward pass of one rank.
        rank: Number of this process.
        world_size: Number of processes.
        num_workers: Loader processes.
        max_samples: Examples to stop after; None for the whole split.
        pin_memory: As for `PretrainingStream`.
    """

    def __init__(
        self,
        samples: PretrainingSamples,
        micro_batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        max_samples: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        size = samples.epoch_plan(0).size
        self.num_samples = size if max_samples is None else min(size, max_samples)
        self._rows = _ValidationBuffers(samples, micro_batch_size, self.num_samples, rank, world_size)
        self._num_workers = num_workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        loader = DataLoader(
            self._rows, batch_size=None, num_workers=self._num_workers, pin_memory=self._pin_memory, shuffle=False
        )
        for buffer in _plain_errors(loader):
            yield unpack_buffers(buffer, self._rows.samples.target_names)


class _ValidationBuffers(Dataset[Tensor]):
    """Map the number of an item to this rank's micro-batch of it; ranks beyond the end get filler only."""

    def __init__(
        self, samples: PretrainingSamples, micro_batch_size: int, num_samples: int, rank: int, world_size: int
    ) -> None:
        self.samples = samples
        self.shape = PackedShape(micro_batch_size, samples.seq_len, samples.usual_length)
        self.num_samples = num_samples
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return -(-self.num_samples // (self.shape.num_examples * self.world_size))

    def __getitem__(self, item: int) -> Tensor:
        begin = (item * self.world_size + self.rank) * self.shape.num_examples
        numbers = np.arange(begin, min(begin + self.shape.num_examples, self.num_samples))
        place = self.samples.locate(numbers) if len(numbers) else np.empty((3, 0), dtype=np.int64)
        examples = self.samples.find(numbers, place)
        every = np.arange(len(examples))
        own = self.samples
        return pack(examples, [every], self.shape, own.masking, own.vocabulary, begin, own.target_names)
