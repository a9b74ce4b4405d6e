"""The held-out split, once through, for every rank."""

from collections.abc import Iterator
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from data_pipeline.processes.child_processes import serve_main_process
from data_pipeline.streams.collate import pack
from data_pipeline.streams.packed_batch import PackedBatch, unpack_buffers
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream import plain_errors


class ValidationStream:
    """One pass over the held-out split, the same masks every time, the same number of items on every rank.

    If the shards tell several sources apart, their examples come one source after another, and no item has two.

    Args:
        samples: The validation split, not shuffled.
        micro_batch_size: Examples of one forward pass of one rank.
        rank: Rank of this process.
        world_size: Processes of the run.
        num_workers: Loader processes.
        max_samples: About how many examples at most: those of every source by its size, at even distances, and one
            at least. None takes all.
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
        chosen = _spread_over_sources(samples, max_samples)
        self.num_samples = sum(map(len, chosen.values()))
        shape = samples.shape(micro_batch_size)
        self._samples = samples
        self._rows = {
            source: _ValidationBuffers(samples, shape, numbers, rank, world_size) for source, numbers in chosen.items()
        }
        self._num_workers = num_workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        loader: DataLoader[Tensor] = DataLoader(
            ConcatDataset(self._rows.values()),
            batch_size=None,
            num_workers=self._num_workers,
            pin_memory=self._pin_memory,
            shuffle=False,
            worker_init_fn=serve_main_process,
        )
        for buffer in plain_errors(loader):
            yield unpack_buffers(buffer, self._samples.target_names)

    def source_of(self, item: int) -> str:
        """Return the source of the examples of an item, "" if the shards do not tell; the same on every rank."""
        ends = accumulate(map(len, self._rows.values()))
        return next(name for name, end in zip(self._rows, ends, strict=True) if item < end)


def _spread_over_sources(samples: PretrainingSamples, max_samples: int | None) -> dict[str, NDArray[np.int64]]:
    """Return the numbers of the examples of a pass by source, or under "" if the shards do not tell sources apart."""
    by_source = samples_by_source(samples)
    total = samples.epoch_plan(0).size
    if len(by_source) < 2 or "" in by_source:
        by_source = {"": np.arange(total)}
    most = total if max_samples is None else min(max_samples, total)
    return {
        source: numbers[evenly_spread(len(numbers), max(1, round(most * len(numbers) / total)))]
        for source, numbers in by_source.items()
    }


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
        shape: PackedShape,
        numbers: NDArray[np.int64],
        rank: int,
        world_size: int,
    ) -> None:
        self.samples = samples
        self.shape = shape
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
