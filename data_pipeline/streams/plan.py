"""The order of the examples of an epoch, as arithmetic: no order is stored, and no buffer is shuffled.

    shards --permuted--> lanes --cut--> windows --permuted--> examples          all keyed by (seed, epoch)
    sample of the epoch <--> (lane, position in the lane), round-robin over the lanes

A lane is a sequence of shards; the lanes are interleaved, one example of each in turn. The lanes do not depend on the
number of ranks, so the order of the stream does not either. A window is the stretch of a lane that is in memory at a
time; its examples are read in random order. The first windows of the lanes differ in length, so that the lanes do not
all change windows at once. Every example comes exactly once an epoch, without padding.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.rng import Purpose

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a lane: its shards in reading order, and the example of the lane it begins with."""

    shards: tuple[int, ...]
    begin: int
    size: int


class EpochPlan:
    """Where each example of one epoch is.

    Args:
        counts: Number of examples of each shard, (shards,).
        seed: Seed of the whole run.
        epoch: Number of the epoch.
        num_lanes: Lanes at most; fewer if a lane would not fill one window.
        window_shards: Shards of a lane in memory at a time.
        shuffle: False keeps shards and examples in their stored order.
    """

    def __init__(
        self, counts: Indices, seed: int, epoch: int, num_lanes: int, window_shards: int, shuffle: bool = True
    ) -> None:
        self._key = rng.fold(seed, epoch)
        self._shuffle = shuffle
        self._counts = counts
        shards = np.arange(len(counts))
        if shuffle:
            shards = rng.permutation(rng.fold(self._key, Purpose.SHARD_ORDER), len(counts))
        lanes = min(num_lanes, -(-len(counts) // window_shards))
        self.windows = [_cut_lane(shards[lane::lanes], counts, lane, lanes, window_shards) for lane in range(lanes)]
        self._lane_sizes = np.array([sum(window.size for window in lane) for lane in self.windows], dtype=np.int64)
        self._begins = [np.array([window.begin for window in lane]) for lane in self.windows]
        self.size = int(self._lane_sizes.sum())

    @property
    def num_lanes(self) -> int:
        """Number of lanes."""
        return len(self.windows)

    def locate(self, samples: Indices) -> tuple[Indices, Indices]:
        """Return lane and position in the lane of samples of the epoch, both (samples,).

        Round r takes one example of every lane longer than r, so position and round are the same. Between the samples
        at which one lane and the next-longer one run out, a stage, the number of lanes is constant and the round
        follows by a division.

        >>> plan = EpochPlan(np.array([3, 1, 2]), 0, 0, num_lanes=3, window_shards=1, shuffle=False)
        >>> lanes, positions = plan.locate(np.arange(6))  # lanes of 3, 1 and 2 examples
        >>> lanes.tolist(), positions.tolist()
        ([0, 1, 2, 0, 2, 0], [0, 0, 0, 1, 1, 2])
        """
        sizes = np.sort(self._lane_sizes)  # (lanes,): 1, 2, 3 in the example
        first_rounds = np.concatenate([[0], sizes])  # (lanes + 1,): the round with which each stage begins
        active = np.arange(len(sizes), 0, -1)  # (lanes,): lanes that have not run out in each stage
        first_samples = np.concatenate([[0], np.cumsum(np.diff(sizes, prepend=0) * active)])  # (lanes + 1,): 0, 3, 5, 6
        stage = np.searchsorted(first_samples, samples, side="right") - 1  # (samples,)
        rounds, offset = np.divmod(samples - first_samples[stage], active[stage])  # (samples,) each
        lanes = np.empty_like(samples)
        for current in np.unique(stage):
            rows = stage == current  # (samples,)
            left = np.flatnonzero(self._lane_sizes > first_rounds[current])  # (active lanes,)
            lanes[rows] = left[offset[rows]]
        return lanes, first_rounds[stage] + rounds

    def shards_of(self, lanes: Indices, positions: Indices) -> Indices:
        """Return the shard of each example at these positions in the lanes, (samples,), if nothing is shuffled."""
        found = np.empty_like(positions)
        for lane in np.unique(lanes).tolist():
            rows = lanes == lane  # (samples,)
            shards = np.concatenate([window.shards for window in self.windows[lane]])  # (shards of the lane,)
            found[rows] = shards[np.searchsorted(np.cumsum(self._counts[shards]), positions[rows], side="right")]
        return found

    def window_of(self, lane: int, positions: Indices) -> tuple[Indices, Indices]:
        """Return the window and the example of that window for positions in one lane, both (positions,)."""
        windows = np.searchsorted(self._begins[lane], positions, side="right") - 1
        return windows, positions - self._begins[lane][windows]

    def example_order(self, lane: int, window: int) -> Indices:
        """Return the order in which the examples of a window are read, (examples of the window,)."""
        size = self.windows[lane][window].size
        if not self._shuffle:
            return np.arange(size)
        return rng.permutation(rng.fold(self._key, Purpose.EXAMPLE_ORDER, lane, window), size)


def _cut_lane(shards: Indices, counts: Indices, lane: int, lanes: int, window_shards: int) -> list[Window]:
    """Cut a lane into windows of `window_shards` shards, the first one shorter for lanes of lower numbers."""
    first = -(-window_shards * (lane + 1) // lanes)
    cuts = [0, *range(first, len(shards), window_shards), len(shards)]
    windows, begin = [], 0
    for low, high in pairwise(cuts):
        size = int(counts[shards[low:high]].sum())
        if size:
            windows.append(Window(tuple(shards[low:high].tolist()), begin, size))
            begin += size
    return windows
