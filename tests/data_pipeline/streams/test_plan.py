"""The order of an epoch: a permutation, found by arithmetic, mixed, and different every epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.streams.plan import EpochPlan


def all_examples(plan: EpochPlan) -> list[tuple[int, int]]:
    """Every (window shards, example of the window) in stream order."""
    lanes, positions = plan.locate(np.arange(plan.size))
    read = []
    for lane, position in zip(lanes.tolist(), positions.tolist(), strict=True):
        window, example = plan.window_of(lane, np.array([position]))
        order = plan.example_order(lane, int(window[0]))
        read.append((hash((lane, int(window[0]))), int(order[example[0]])))
    return read


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=25),
    num_lanes=st.integers(1, 9),
    window_shards=st.integers(1, 6),
    epoch=st.integers(0, 3),
)
def test_every_example_comes_exactly_once(counts: list[int], num_lanes: int, window_shards: int, epoch: int) -> None:
    plan = EpochPlan(np.array(counts), 5, epoch, num_lanes, window_shards)
    assert plan.size == sum(counts)
    shards = [shard for lane in plan.windows for window in lane for shard in window.shards]
    assert sorted(shards) == sorted(set(shards))
    assert {shard for shard in shards if counts[shard]} == {shard for shard, count in enumerate(counts) if count}
    assert all(len(window.shards) <= window_shards for lane in plan.windows for window in lane)
    read = all_examples(plan)
    assert len(set(read)) == len(read) == plan.size


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=25),
    num_lanes=st.integers(1, 9),
    window_shards=st.integers(1, 6),
)
def test_the_shards_of_examples_in_stored_order(counts: list[int], num_lanes: int, window_shards: int) -> None:
    plan = EpochPlan(np.array(counts), 5, 0, num_lanes, window_shards, shuffle=False)
    lanes, positions = plan.locate(np.arange(plan.size))
    found = plan.shards_of(lanes, positions)
    assert np.bincount(found, minlength=len(counts)).tolist() == counts
    for lane, position, shard in zip(lanes.tolist(), positions.tolist(), found.tolist(), strict=True):
        window, _ = plan.window_of(lane, np.array([position]))
        assert shard in plan.windows[lane][int(window[0])].shards


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any),
    seed=st.integers(0, 3),
)
def test_locate_is_a_round_robin_over_the_lanes_that_are_left(sizes: list[int], seed: int) -> None:
    plan = EpochPlan(np.array(sizes), seed, 0, num_lanes=len(sizes), window_shards=1)
    lane_sizes = [sum(window.size for window in lane) for lane in plan.windows]
    expected = [(lane, turn) for turn in range(max(lane_sizes)) for lane, size in enumerate(lane_sizes) if size > turn]
    lanes, positions = plan.locate(np.arange(plan.size))
    assert list(zip(lanes.tolist(), positions.tolist(), strict=True)) == expected


def test_epochs_and_seeds_have_their_own_order() -> None:
    counts = np.full(40, 25)
    orders = [tuple(all_examples(EpochPlan(counts, seed, epoch, 4, 5))) for seed, epoch in [(0, 0), (0, 1), (1, 0)]]
    assert len(set(orders)) == 3
    assert orders[0] == tuple(all_examples(EpochPlan(counts, 0, 0, 4, 5)))


def test_lanes_change_windows_at_different_times() -> None:
    plan = EpochPlan(np.full(256, 10), 0, 0, num_lanes=16, window_shards=4)
    first_windows = [lane[0].size for lane in plan.windows]
    assert sorted(set(first_windows)) == [10, 20, 30, 40]


def test_a_small_corpus_is_shuffled_as_a_whole() -> None:
    plan = EpochPlan(np.full(10, 7), 0, 0, num_lanes=16, window_shards=16)
    assert plan.num_lanes == 1
    assert len(plan.windows[0]) == 1


def test_without_shuffle_examples_keep_their_order() -> None:
    plan = EpochPlan(np.array([3, 4]), 0, 0, num_lanes=1, window_shards=2, shuffle=False)
    assert plan.windows[0][0].shards == (0, 1)
    assert plan.example_order(0, 0).tolist() == list(range(7))


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_neighbouring_examples_do_not_stay_neighbours(size: int) -> None:
    plan = EpochPlan(np.array([size]), 0, 0, 16, 16)
    order = plan.example_order(0, 0)
    adjacent = (np.abs(np.diff(order)) == 1).sum()
    assert adjacent <= 2 + 2 + 4 * np.sqrt(2)  # expected 2 by chance
