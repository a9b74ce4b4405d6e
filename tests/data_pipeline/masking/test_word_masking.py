"""Masks of whole words and of runs of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from data_pipeline import rng
from data_pipeline.masking import word_masking
from data_pipeline.masking.word_masking import SpanMasking, WholeWordMasking, _Attempts, _take_runs
from tests.data_pipeline.masking.masks import CLS, SEP, SIZE, VOCABULARY, masked, packed_examples


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
    vocabulary = replace(VOCABULARY, is_continuation=np.zeros(SIZE, dtype=bool))
    length = num_words + 2
    ids = np.tile(np.concatenate([[CLS], 10 + np.arange(num_words) % (SIZE - 10), [SEP]]).astype(np.int32), number)
    positions, _ = method(ids, np.arange(number + 1) * length, rng.fold(7, np.arange(number)), vocabulary)
    chosen = np.zeros(len(ids) + 1, dtype=int)
    chosen[positions] = 1
    edges = np.diff(chosen, prepend=0)
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1), positions % length


def test_run_lengths_follow_their_weights() -> None:
    """One run an example: the budget is that of one run, so neighbors cannot join."""
    runs, _ = runs_of(SpanMasking((6, 3, 2), mask_prob=0.01, max_predictions=1), 3000, 40)
    assert (runs == 1).all()
    weights = np.array([6, 3, 2]) / 11
    runs, _ = runs_of(SpanMasking((6, 3, 2), mask_prob=3 / 200), 6000, 198)
    # A run of three fills the budget; shorter ones leave room for others, which are cut to what is left.
    first_is_three = (runs == 3).mean() * len(runs) / 6000
    assert abs(first_is_three - weights[2]) < 0.03
    runs, _ = runs_of(SpanMasking((0, 0, 1), mask_prob=3 / 200), 2000, 198)
    assert (runs == 3).mean() > 0.97  # the ends of the text leave room for two or one only


def test_many_runs_in_a_long_text_have_the_lengths_of_their_weights() -> None:
    """Some 30 runs in 10,000 words: hardly two meet, and only the last is cut to what is left of the budget."""
    runs, _ = runs_of(SpanMasking((6, 3, 2), mask_prob=0.005), 100, 9998)
    shares = np.bincount(runs, minlength=4)[1:4] / len(runs)
    assert np.abs(shares - np.array([6, 3, 2]) / 11).max() < 0.04
    assert len(runs) > 2800


def take_one_by_one(
    order: list[int], lasts: list[int], begins: list[int], owner: list[int], budgets: list[int]
) -> list[bool]:
    """The rule as it is told: runs in turn, cut to what is left, passed over where they meet another."""
    left, taken = list(budgets), [False] * len(order)
    for word in order:
        example, last = owner[word], lasts[word]
        while begins[last] - begins[word] > left[example]:
            last -= 1
        if not any(taken[word:last]):
            taken[word:last] = [True] * (last - word)
            left[example] -= begins[last] - begins[word]
    return taken


@pytest.mark.parametrize("longest", [1, 3, 10])
@pytest.mark.parametrize("together", [1, 1000, 50_000])
def test_all_examples_at_once_take_what_they_take_one_by_one(
    monkeypatch: pytest.MonkeyPatch, longest: int, together: int
) -> None:
    monkeypatch.setattr(word_masking, "ATTEMPTS_AT_ONCE", together)
    numbers = np.random.default_rng(longest)
    counts = numbers.integers(0, 60, size=200)
    owner = np.repeat(np.arange(200), counts)
    ends = np.cumsum(counts)
    order = np.concatenate([end - count + numbers.permutation(count) for end, count in zip(ends, counts, strict=True)])
    lasts = np.minimum(np.arange(len(owner)) + numbers.integers(1, longest + 1, size=len(owner)), ends[owner])
    begins = np.concatenate([[0], np.cumsum(numbers.integers(1, 5, size=len(owner)))])
    budgets = numbers.integers(0, 40, size=200)
    found = _take_runs(order, lasts, begins, _Attempts.begin(owner, budgets), longest)
    arrays = (order, lasts, begins, owner, budgets)
    assert found.tolist() == take_one_by_one(*(array.tolist() for array in arrays))
    used = np.bincount(owner, weights=np.diff(begins) * found, minlength=200)
    assert (used <= budgets).all()
    assert found.any()


@pytest.mark.parametrize("method", [WholeWordMasking, SpanMasking])
def test_an_example_is_masked_alike_alone_and_among_others(method: type[WholeWordMasking]) -> None:
    ids, cu_seqlens = packed_examples(60)
    keys = rng.fold(0, np.arange(60))
    together = ids.copy()
    positions, labels = method()(together, cu_seqlens, keys, VOCABULARY)
    for number, (begin, end) in enumerate(pairwise(cu_seqlens.tolist())):
        alone = ids[begin:end].copy()
        own, own_labels = method()(alone, np.array([0, end - begin]), keys[number : number + 1], VOCABULARY)
        rows = (positions >= begin) & (positions < end)
        assert (alone == together[begin:end]).all()
        assert (own + begin).tolist() == positions[rows].tolist()
        assert own_labels.tolist() == labels[rows].tolist()


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
