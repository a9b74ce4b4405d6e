"""Masks of whole words and of runs of them."""

import numpy as np
import pytest

from data_pipeline import rng
from data_pipeline.masking import Vocabulary
from data_pipeline.word_masking import SpanMasking, WholeWordMasking
from tests.test_masking import CLS, MASK, PAD, SEP, SIZE, VOCABULARY, masked


@pytest.mark.parametrize("method", [WholeWordMasking, SpanMasking])
def test_words_are_chosen_whole_and_within_the_budget(method: type[WholeWordMasking]) -> None:
    before, _, positions, _, cu_seqlens = masked(method)
    chosen = np.zeros(len(before), dtype=bool)
    chosen[positions] = True
    special = np.isin(before, VOCABULARY.unmaskable)
    for index in range(1, len(before)):
        continues = VOCABULARY.is_continuation[before[index]] and not special[index - 1] and not special[index]
        if continues:
            assert chosen[index] == chosen[index - 1]
    lengths = np.diff(cu_seqlens)
    budgets = np.maximum(np.rint(lengths * 0.15), 1)
    used = np.histogram(positions, bins=cu_seqlens)[0]
    assert (used <= budgets).all()
    assert used.sum() > 0.93 * budgets.sum()


def runs_of(method: SpanMasking, number: int, num_words: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the chosen runs in examples of one-piece words, and the chosen positions in their examples."""
    vocabulary = Vocabulary(SIZE, MASK, (CLS, SEP, PAD), np.zeros(SIZE, dtype=bool))
    length = num_words + 2
    ids = np.tile(np.concatenate([[CLS], np.arange(10, 10 + num_words), [SEP]]).astype(np.int32), number)
    positions, _ = method(ids, np.arange(number + 1) * length, rng.fold(7, np.arange(number)), vocabulary)
    chosen = np.zeros(len(ids) + 1, dtype=int)
    chosen[positions] = 1
    edges = np.diff(chosen, prepend=0)
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1), positions % length


def test_run_lengths_follow_their_weights() -> None:
    """One run an example: the budget is that of one run, so neighbours cannot join."""
    runs, _ = runs_of(SpanMasking((6, 3, 2), mask_prob=0.01, max_predictions=1), 3000, 40)
    assert (runs == 1).all()
    weights = np.array([6, 3, 2]) / 11
    runs, _ = runs_of(SpanMasking((6, 3, 2), mask_prob=3 / 200), 6000, 198)
    # A run of three fills the budget; shorter ones leave room for others, which are cut to what is left.
    first_is_three = (runs == 3).mean() * len(runs) / 6000
    assert abs(first_is_three - weights[2]) < 0.03
    runs, _ = runs_of(SpanMasking((0, 0, 1), mask_prob=3 / 200), 2000, 198)
    assert (runs == 3).mean() > 0.97  # the ends of the text leave room for two or one only


def test_runs_are_uniform_over_places_and_stay_within_a_segment() -> None:
    _, places = runs_of(SpanMasking((0, 1), mask_prob=0.1), 20_000, 40)
    counts = np.bincount(places, minlength=42)[2:40]
    assert np.abs(counts / counts.mean() - 1).max() < 0.12
    before, _, positions, _, _ = masked(SpanMasking, number=2000, mask_prob=0.5, span_weights=[0, 0, 0, 1])
    assert not np.isin(before[positions], VOCABULARY.unmaskable).any()


def test_weights_that_are_none_are_refused() -> None:
    for weights in ([], [0, 0], [-1, 2]):
        with pytest.raises(ValueError, match="span_weights"):
            SpanMasking(weights)
