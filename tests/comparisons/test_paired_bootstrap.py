"""The paired bootstrap against the normal approximation, and what it must say of models that are equal or differ."""

import numpy as np
import pytest

from bert_lightning.comparisons.paired_bootstrap import Difference, paired_bootstrap
from bert_lightning.comparisons.resampled_metrics import Resampled


def model(right: np.ndarray) -> Resampled:
    """A model that is right on some examples."""
    return lambda counts: {"accuracy": counts @ right / counts.sum(1)}


def differ(first: list[np.ndarray], second: list[np.ndarray], **settings: float) -> Difference:
    models = ([model(each) for each in some] for some in (first, second))
    return paired_bootstrap(*models, len(first[0]), ["accuracy"], **settings)["accuracy"]  # type: ignore[arg-type]


def test_the_interval_is_that_of_the_paired_differences() -> None:
    """For a mean the bootstrap must find the standard error of the paired differences, not that of two samples."""
    draw = np.random.default_rng(0)
    first = (draw.random(1000) < 0.8).astype(float)
    second = np.where(draw.random(1000) < 0.1, 1.0, first)
    found = differ([first], [second])
    changes = second - first
    error = 1.96 * changes.std() / 1000**0.5
    assert found.value == pytest.approx(changes.mean())
    assert (found.low, found.high) == pytest.approx((changes.mean() - error, changes.mean() + error), abs=0.1 * error)
    assert found.p < 0.01


def test_a_model_does_not_differ_from_itself() -> None:
    right = (np.arange(50) % 3 > 0).astype(float)
    assert differ([right], [right]) == Difference(right.mean(), right.mean(), 0.0, 0.0, 1.0)


def test_equally_good_models_are_seldom_called_different() -> None:
    """Of pairs of models without a difference about 5% have a p below 0.05."""
    draw = np.random.default_rng(0)
    pairs = (draw.random((200, 2, 300)) < 0.7).astype(float)
    below = sum(differ([one], [other], resamples=400).p < 0.05 for one, other in pairs)
    assert 2 <= below <= 22


def test_the_spread_of_seeds_widens_the_interval() -> None:
    """One seed of each model hides that another seed could have been the better one."""
    worse, better = np.zeros(400), np.ones(400)
    worse[:200] = 1
    one_seed = differ([worse], [better])
    several = differ([worse, better], [better, worse])
    assert one_seed.p < 0.01
    assert several.value == 0
    assert several.low < -0.4
    assert several.high > 0.4
    assert several.p > 0.5


def test_the_same_seed_draws_the_same() -> None:
    first, second = (np.random.default_rng(seed).random(30).round() for seed in (0, 1))
    assert differ([first], [second], resamples=500) == differ([first], [second], resamples=500)
    assert differ([first], [second], resamples=500) != differ([first], [second], resamples=500, seed=1)
