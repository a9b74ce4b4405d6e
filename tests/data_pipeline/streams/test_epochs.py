"""A sample and the passes before it say the same thing."""

import doctest

import pytest

from data_pipeline.streams import epochs as epochs_module
from data_pipeline.streams.epochs import Epochs


def test_examples() -> None:
    assert doctest.testmod(epochs_module).failed == 0


@pytest.mark.parametrize("sizes", [[7], [10, 12, 9], [1, 2]])
def test_every_sample_is_found_again_by_the_passes_before_it(sizes: list[int]) -> None:
    epochs = Epochs(sizes.__getitem__, len(sizes))
    for sample in range(5 * sum(sizes)):
        epoch, begin = epochs.holding(sample)
        assert begin <= sample < begin + sizes[epoch % len(sizes)] == epochs.end(sample)
        assert epochs.sample_after(epochs.passed(sample)) == sample


def test_large_splits_lose_no_sample_to_rounding() -> None:
    epochs = Epochs([10**9 + 7, 10**9 + 9].__getitem__, 2)
    for sample in (10**9 + 6, 39 * 10**9 + 123_456_789, 40 * 10**9 + 320):
        assert epochs.sample_after(epochs.passed(sample)) == sample


def test_only_the_cuts_that_lie_before_are_counted() -> None:
    """Counting a cut of a large corpus takes minutes."""
    asked: list[int] = []
    epochs = Epochs(lambda variant: asked.append(variant) or 10, 8)
    assert epochs.sample_after(2.5) == 25
    assert set(asked) == {0, 1, 2}
