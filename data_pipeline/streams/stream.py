"""Loaders: the share of a rank of one global batch after another.

Global batch t is samples [tG, (t+1)G) of the stream, whatever the number of ranks, workers and micro-batches. Which of
them a rank gets is decided by arithmetic alone: no process has to hear from another, and the whole state of a loader is
`consumed_samples`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from math import gcd
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from data_pipeline.processes.child_processes import serve_main_process, signals_held
from data_pipeline.streams.collate import Rows, assign, pack
from data_pipeline.streams.packed_batch import PackedBatch, unpack_buffers
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.phases import micro_batches_of_a_rank
from data_pipeline.streams.samples import Examples, PretrainingSamples
from data_pipeline.streams.stream_state import StreamState

BALANCED_TOGETHER = 2048
"""Examples of a step among which ranks are balanced, at least; the sums of so many differ by less than 2%."""
FOUND_TOGETHER = 4096
"""Examples that a process finds at a time, of several steps if need be: most of the work is done once a window."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Share:
    """What one rank trains on in one step: rows of `examples` for each of its micro-batches."""

    examples: Examples
    micro_batch_rows: list[Rows]


class _StepBuffers(Dataset[Tensor]):
    """Map a first sample to this rank's micro-batches of the global batch that begins there, in one buffer.

    Ranks get equal work because every rank knows the lengths of all examples that are shared out, its own and the
    others'. The lanes are split between groups of ranks only if each group still has `BALANCED_TOGETHER` examples a
    step; a rank reads the lanes of its group.
    """

    def __init__(
        self,
        samples: PretrainingSamples,
        global_batch_size: int,
        shape: PackedShape,
        end: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.samples = samples
        self.global_batch_size = global_batch_size
        self.end = end
        self.shape = shape
        self.num_groups = _num_groups(samples.epoch_plan(0).num_lanes, world_size, global_batch_size)
        self.group, self.rank_in_group = divmod(rank, world_size // self.num_groups)
        self.micro_batches_per_rank = micro_batches_of_a_rank(global_batch_size, shape.num_examples, world_size)
        self._shares: dict[int, _Share] = {}

    def __getitem__(self, first_sample: int) -> Tensor:
        if first_sample not in self._shares:
            self._shares = dict(self._find_shares(first_sample))
        share = self._shares.pop(first_sample)
        names, masking, vocabulary = self.samples.target_names, self.samples.masking, self.samples.vocabulary
        return pack(share.examples, share.micro_batch_rows, self.shape, masking, vocabulary, first_sample, names)

    def _find_shares(self, first_sample: int) -> Iterator[tuple[int, _Share]]:
        """Yield this rank's shares of a step and of the next ones that this process will be asked for."""
        group_size = self.global_batch_size // self.num_groups
        steps = self._steps_found_together(first_sample, FOUND_TOGETHER // group_size)
        samples = steps[:, None] + np.arange(self.global_batch_size)  # (steps, global batch)
        location = self.samples.locate(samples.ravel())  # (3, steps * global batch)
        rows = np.concatenate([self._rows_of_group(location, step) for step in range(len(steps))])
        examples = self.samples.find(samples.ravel()[rows], location[:, rows])  # (steps * group,)
        begin = self.rank_in_group * self.micro_batches_per_rank
        end = begin + self.micro_batches_per_rank
        num_micro_batches = group_size // self.shape.num_examples
        for step, lengths in enumerate(examples.spans.lengths.reshape(len(steps), -1)):
            chosen = assign(lengths, num_micro_batches)[begin:end]
            mine = examples.take(step * group_size + np.concatenate(chosen))
            yield int(steps[step]), _Share(mine, np.split(np.arange(len(mine)), len(chosen)))

    def _steps_found_together(self, first_sample: int, most: int) -> Rows:
        """Return the first samples of the next steps of this process, those within the run and the epoch, (steps,)."""
        worker = get_worker_info()
        stride = self.global_batch_size * (1 if worker is None else worker.num_workers)
        end = min(self.end, self.samples.epochs.end(first_sample))
        return np.arange(first_sample, max(end - self.global_batch_size, first_sample) + 1, stride)[: max(most, 1)]

    def _rows_of_group(self, location: NDArray[np.int64], step: int) -> Rows:
        """Return the rows of a step that the ranks of this group share: those of the group's lanes."""
        rows = np.arange(step * self.global_batch_size, (step + 1) * self.global_batch_size)
        if self.num_groups == 1:
            return rows
        epoch, lane = location[:2, rows]
        return rows[np.lexsort((lane, epoch))].reshape(self.num_groups, -1)[self.group]


def _num_groups(num_lanes: int, world_size: int, global_batch_size: int) -> int:
    """Return into how many groups ranks and lanes are split: as many as leave each `BALANCED_TOGETHER` examples.

    >>> _num_groups(16, 8, 256), _num_groups(16, 64, 4096), _num_groups(16, 24, 65536)
    (1, 2, 8)
    """
    common = gcd(num_lanes, world_size)
    divisors = [n for n in range(1, common + 1) if common % n == 0]
    return max(n for n in divisors if n == 1 or global_batch_size >= n * BALANCED_TOGETHER)


class _Steps(Sampler[int]):
    """First samples of successive global batches, `num_steps` of them or without end."""

    def __init__(self, first_sample: int, global_batch_size: int, num_steps: int | None) -> None:
        self._first_sample = first_sample
        self._global_batch_size = global_batch_size
        self._num_steps = num_steps

    def __iter__(self) -> Iterator[int]:
        return islice(count(self._first_sample, self._global_batch_size), self._num_steps)


@dataclass(frozen=True, slots=True)
class Past:
    """What a run has read before a stream begins; nothing by default.

    Attributes:
        consumed_samples: Samples that other streams of the run have yielded.
        first_sample: Sample of the split with which the stream begins.
        phases: Descriptions of the finished phases of the run, for the fingerprint.
    """

    consumed_samples: int = 0
    first_sample: int = 0
    phases: tuple[Mapping[str, object], ...] = ()

    def fingerprint(self) -> dict[str, object]:
        """Return what is added to the fingerprint of the stream."""
        return {"phases": [dict(phase) for phase in self.phases]} if self.phases else {}


NOTHING = Past()


class PretrainingStream:
    """This rank's micro-batches of one global batch after another, for ever; `len` says how many the run will take.

    Args:
        samples: The training split.
        global_batch_size: Examples of one optimizer step, over all ranks.
        micro_batch_size: Examples of one forward and backward pass of one rank.
        num_steps: Optimizer steps of the stream, those before a resume included.
        rank: Rank of this process.
        world_size: Processes of the run.
        num_workers: Loader processes; 0 reads in this one. Does not change the batches.
        pin_memory: Put the buffers in page-locked memory, for copies to a GPU that do not wait.
        num_shapes: Most shapes of the micro-batches, at the price of more filler; None rounds their sizes finely.
            Does not change the examples.
        past: What the run has read before.
    """

    def __init__(
        self,
        samples: PretrainingSamples,
        global_batch_size: int,
        micro_batch_size: int,
        num_steps: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        num_shapes: int | None = None,
        past: Past = NOTHING,
    ) -> None:
        self.samples = samples
        self.global_batch_size = global_batch_size
        self.num_steps = num_steps
        self.consumed_samples = past.consumed_samples
        self._past = past
        self._end = past.first_sample + num_steps * global_batch_size
        shape = samples.shape(micro_batch_size, num_shapes)
        self._buffers = _StepBuffers(samples, global_batch_size, shape, self._end, rank, world_size)
        self._num_workers = num_workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return self.num_steps

    @property
    def _next_sample(self) -> int:
        """The sample of the split with which the next global batch begins."""
        return self._past.first_sample + self.consumed_samples - self._past.consumed_samples

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        """Continue at `consumed_samples`, which counts the samples of the global batches that were yielded."""
        return self.steps(None)

    def steps(self, number: int | None) -> Iterator[list[PackedBatch]]:
        """Continue for a number of steps, and read nothing beyond them; None continues for ever."""
        loader = DataLoader(
            self._buffers,
            batch_size=None,
            sampler=_Steps(self._next_sample, self.global_batch_size, number),
            num_workers=self._num_workers,
            pin_memory=self._pin_memory,
            prefetch_factor=4 if self._num_workers else None,
            worker_init_fn=serve_main_process,
        )
        for buffer in plain_errors(loader):
            self.consumed_samples += self.global_batch_size
            yield unpack_buffers(buffer, self.samples.target_names)

    def count_ahead(self) -> None:
        """Begin to count the examples of the epochs that the rest of the stream needs; see `PretrainingSamples`."""
        self.samples.count_ahead(self._next_sample, self._end)

    def fingerprint(self) -> dict[str, object]:
        """Return everything that has decided the batches so far, apart from the sizes of the batches of this stream."""
        return self.samples.fingerprint() | self._past.fingerprint()

    def state_dict(self) -> dict[str, object]:
        """Return the whole state of the stream; the same on every rank."""
        return StreamState(self.consumed_samples, self.global_batch_size, self.fingerprint()).as_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue where `state` was taken; ValueError with the differences if it is the state of another stream."""
        saved = StreamState.read(state)
        saved.check_stream(self.fingerprint())
        self.consumed_samples = saved.consumed_samples


def plain_errors(batches: Iterable[T]) -> Iterator[T]:
    """Yield the batches of a loader, whose new worker processes no signal ends.

    An error of a worker process is raised with its message alone, without the traceback.
    """
    try:
        with signals_held():
            begun = iter(batches)
        yield from begun
    except ValueError as error:
        raise ValueError(str(error).rstrip().rsplit("ValueError: ", 1)[-1]) from None
