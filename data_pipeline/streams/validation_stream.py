"""The held-out split, once through, for every rank."""

from collections.abc import Iterator, Mapping
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_pipeline.processes.child_processes import serve_main_process
from data_pipeline.streams.collate import pack
from data_pipeline.streams.packing import PackedBatch, unpack_buffers
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream import plain_errors


class ValidationStream:
    """One pass over the held-out split, the same masks every time, the same number of items on every rank.

    Args:
        samples: The validation split, not shuffled.
        micro_batch_size: Examples of one forward pass of one rank.
        rank: Rank of this process.
        world_size: Processes of the run.
        num_workers: Loader processes.
        max_samples: Most examples; fewer than there are are taken at even distances from all of them. None takes all.
        pin_memory: As for `PretrainingStream`.
        among: Numbers of the examples to take from, ascending; None for the whole split.
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
        among: NDArray[np.int64] | None = None,
    ) -> None:
        every = np.arange(samples.epoch_plan(0).size) if among is None else among
        self.num_samples = len(every) if max_samples is None else min(len(every), max_samples)
        numbers = every[evenly_spread(len(every), self.num_samples)]
        self._rows = _ValidationBuffers(samples, micro_batch_size, numbers, rank, world_size)
        self._num_workers = num_workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        loader = DataLoader(
            self._rows,
            batch_size=None,
            num_workers=self._num_workers,
            pin_memory=self._pin_memory,
            shuffle=False,
            worker_init_fn=serve_main_process,
        )
        for buffer in plain_errors(loader):
            yield unpack_buffers(buffer, self._rows.samples.target_names)


class ValidationBySource:
    """The passes over the held-out text of several sources, one after another.

    Args:
        streams: The stream of each source, by name.
    """

    def __init__(self, streams: Mapping[str, ValidationStream]) -> None:
        self._streams = dict(streams)

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        return chain.from_iterable(self._streams.values())

    def source_of(self, item: int) -> str:
        """Return the source of the examples of an item; all ranks have the same sources in the same order."""
        ends = accumulate(map(len, self._streams.values()))
        return next(name for name, end in zip(self._streams, ends, strict=True) if item < end)


def samples_by_source(samples: PretrainingSamples) -> dict[str, NDArray[np.int64]]:
    """Return the numbers of the examples of each source of a split that is not shuffled.

    An example is of the source of its first segment. The second segment of a random pair may be of any source, as in
    training.
    """
    plan = samples.epoch_plan(0)
    numbers = np.arange(plan.size)
    sources = np.array([entry.source for entry in samples.entries])  # (shards,)
    source_of = sources[plan.shards_of(*plan.locate(numbers))]  # (examples,)
    return {source: numbers[source_of == source] for source in dict.fromkeys(sources.tolist()) if source in source_of}


def evenly_spread(size: int, count: int) -> NDArray[np.int64]:
    """Return `count` of the numbers below `size`, at even distances.

    >>> evenly_spread(10, 3).tolist(), evenly_spread(3, 3).tolist()
    ([1, 5, 8], [0, 1, 2])
    """
    return (2 * np.arange(count, dtype=np.int64) + 1) * size // (2 * count)


class _ValidationBuffers(Dataset[Tensor]):
    """Map an index to this rank's micro-batch of that item; ranks beyond the end get filler only."""

    def __init__(
        self,
        samples: PretrainingSamples,
        micro_batch_size: int,
        numbers: NDArray[np.int64],
        rank: int,
        world_size: int,
    ) -> None:
        self.samples = samples
        self.shape = samples.shape(micro_batch_size)
        self.numbers = numbers
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return -(-len(self.numbers) // (self.shape.num_examples * self.world_size))

    def __getitem__(self, item: int) -> Tensor:
        begin = (item * self.world_size + self.rank) * self.shape.num_examples
        numbers = self.numbers[begin : begin + self.shape.num_examples]
        location = self.samples.locate(numbers) if len(numbers) else np.empty((3, 0), dtype=np.int64)
        examples = self.samples.find(numbers, location)
        every = np.arange(len(examples))
        samples = self.samples
        first = int(numbers[0]) if len(numbers) else 0
        return pack(examples, [every], self.shape, samples.masking, samples.vocabulary, first, samples.target_names)
