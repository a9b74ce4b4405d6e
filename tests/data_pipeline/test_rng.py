"""Keyed random numbers: pure, uniform, independent between keys and counters."""

import numpy as np
import pytest

from data_pipeline import rng
from tests.support.checkout import run_python


def test_a_number_depends_on_nothing_but_key_and_counter() -> None:
    keys, counters = rng.fold(7, np.arange(5)), np.arange(9)
    table = rng.bits(keys[:, None], counters)
    assert table.shape == (5, 9)
    for row, column in [(0, 0), (3, 8), (4, 1)]:
        assert table[row, column] == rng.bits(rng.fold(7, row), column)


def test_numbers_are_the_same_in_another_process_and_version() -> None:
    """Golden values: a change of them changes every stream ever trained on."""
    assert rng.fold(1, 2, 3)[()] == 16914669369030367833
    assert rng.permutation(rng.fold(5), 8).tolist() == [2, 6, 1, 3, 7, 0, 5, 4]
    program = "from data_pipeline import rng; print(rng.fold(1, 2, 3)[()])"
    for seed in ("0", "1"):
        assert run_python(program, PYTHONHASHSEED=seed).stdout.strip() == "16914669369030367833"


def test_different_parts_and_orders_give_different_keys() -> None:
    keys = {int(rng.fold(a, b)[()]) for a in range(100) for b in range(100)}
    assert len(keys) == 10_000


@pytest.mark.parametrize("axis", ["key", "counter"])
def test_uniform_is_uniform_and_uncorrelated_along_keys_and_counters(axis: str) -> None:
    size = 200_000
    grid = np.arange(size)
    draws = rng.uniform(rng.fold(3, grid), 0) if axis == "key" else rng.uniform(rng.fold(3), grid)
    observed = np.histogram(draws, bins=100, range=(0, 1))[0]
    chi_square = ((observed - size / 100) ** 2 / (size / 100)).sum()
    assert 40 < chi_square < 180  # 99 degrees of freedom: mean 99, sd 14
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 4 / np.sqrt(size)


def test_integers_cover_the_bound_evenly() -> None:
    draws = rng.integers(rng.fold(9), np.arange(70_000), 7)
    counts = np.bincount(draws, minlength=7)
    assert len(counts) == 7
    assert np.abs(counts - 10_000).max() < 4 * np.sqrt(10_000 * 6 / 7)


def test_permutation_is_one_and_changes_with_the_key() -> None:
    first, second = rng.permutation(rng.fold(1), 1000), rng.permutation(rng.fold(2), 1000)
    assert sorted(first.tolist()) == list(range(1000))
    assert (first != second).mean() > 0.98


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 200])
def test_fair_coins_are_binomial(size: int) -> None:
    draws = rng.fair_coins(rng.fold(4, np.arange(20_000)), np.full(20_000, size))
    assert draws.min() >= 0
    assert draws.max() <= size
    assert abs(draws.mean() - size / 2) <= 4 * np.sqrt(max(size, 1) / 4 / 20_000)
    assert abs(draws.var() - size / 4) <= 0.05 * max(size, 1)


def test_fair_coins_do_not_depend_on_their_neighbours() -> None:
    keys, sizes = rng.fold(4, np.arange(50)), np.arange(50) * 9
    together = rng.fair_coins(keys, sizes)
    alone = [rng.fair_coins(keys[i : i + 1], sizes[i : i + 1])[0] for i in range(50)]
    assert together.tolist() == alone
