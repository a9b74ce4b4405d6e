"""Masks: how many, where, what stands there, and that nothing else changes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from data_pipeline import rng
from data_pipeline.masking.masking import Masking, TokenMasking
from data_pipeline.masking.word_masking import SpanMasking, WholeWordMasking
from tests.data_pipeline.masking.masks import CLS, MASK, PAD, SEP, SIZE, VOCABULARY, masked, packed_examples

METHODS = [TokenMasking, WholeWordMasking, SpanMasking]


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_the_original_ids_and_nothing_else_changes(method: Callable[..., Masking]) -> None:
    before, after, positions, labels, _ = masked(method)
    assert (labels == before[positions]).all()
    assert (np.diff(positions) > 0).all()
    untouched = np.ones(len(before), dtype=bool)
    untouched[positions] = False
    assert (after[untouched] == before[untouched]).all()
    restored = after.copy()
    restored[positions] = labels
    assert (restored == before).all()


@pytest.mark.parametrize("method", METHODS)
def test_special_tokens_are_never_chosen(method: Callable[..., Masking]) -> None:
    before, _, positions, _, _ = masked(method, mask_prob=1.0)
    assert not np.isin(before[positions], VOCABULARY.unmaskable).any()
    if method is TokenMasking:
        assert len(positions) == (~np.isin(before, VOCABULARY.unmaskable)).sum()


def test_the_count_is_the_one_of_the_original() -> None:
    _, _, positions, _, cu_seqlens = masked(TokenMasking)
    chosen = np.histogram(positions, bins=cu_seqlens)[0]
    lengths = np.diff(cu_seqlens)
    assert chosen.tolist() == [max(1, round(int(length) * 0.15)) for length in lengths]
    _, _, positions, _, cu_seqlens = masked(TokenMasking, max_predictions=3)
    assert np.histogram(positions, bins=cu_seqlens)[0].max() == 3


@pytest.mark.parametrize("method", METHODS)
def test_chosen_tokens_become_mask_random_or_stay_80_10_10(method: Callable[..., Masking]) -> None:
    _before, after, positions, labels, _ = masked(method, number=6000)
    seen, number = after[positions], len(positions)
    # A random token is [MASK] or the original itself once in SIZE draws.
    for share, expected in [((seen == MASK).mean(), 0.8), ((seen == labels).mean(), 0.1)]:
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / number) + 0.1 / SIZE
    random = seen[(seen != MASK) & (seen != labels)]
    assert abs(len(random) / number - 0.1) < 4 * np.sqrt(0.09 / number) + 0.2 / SIZE
    observed = np.histogram(random, bins=20, range=(0, SIZE))[0]
    chi_square = ((observed - len(random) / 20) ** 2 / (len(random) / 20)).sum()
    assert chi_square < 50  # 19 degrees of freedom: mean 19, sd 6


@pytest.mark.parametrize("is_excluded", [True, False])
def test_special_tokens_stand_in_only_where_that_is_asked_for(is_excluded: bool) -> None:
    before, cu_seqlens = packed_examples(2000)
    method = TokenMasking(mask_token_prob=0, random_token_prob=1, exclude_special_replacements=is_excluded)
    vocabulary = replace(VOCABULARY, size=12, is_continuation=np.zeros(12, dtype=bool), unk=11)
    ids = np.where(np.isin(before, (CLS, SEP, PAD)), before, 10).astype(np.int32)
    positions, _ = method(ids, cu_seqlens, rng.fold(0, np.arange(2000)), vocabulary)
    drawn = set(ids[positions].tolist())
    assert drawn == set(range(12)) - ({MASK, CLS, SEP, PAD, 11} if is_excluded else set())


def test_token_choice_is_uniform_over_places() -> None:
    number, length = 20_000, 22
    ids = np.tile(np.concatenate([[CLS], np.arange(10, 30), [SEP]]).astype(np.int32), number)
    cu_seqlens = np.arange(number + 1) * length
    positions, _ = TokenMasking()(ids, cu_seqlens, rng.fold(1, np.arange(number)), VOCABULARY)
    counts = np.bincount(positions % length, minlength=length)[1:-1]
    assert np.abs(counts - number * 3 / 20).max() < 4.5 * np.sqrt(number * 0.15 * 0.85)


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_depends_on_the_key_of_its_example_alone(method: Callable[..., Masking]) -> None:
    before, cu_seqlens = packed_examples(30)
    keys = rng.fold(0, np.arange(30))
    together = before.copy()
    positions, _ = method()(together, cu_seqlens, keys, VOCABULARY)
    for row in (0, 7, 29):
        begin, end = cu_seqlens[row : row + 2]
        alone = before[begin:end].copy()
        own, _ = method()(alone, np.array([0, end - begin]), keys[row : row + 1], VOCABULARY)
        assert (alone == together[begin:end]).all()
        assert own.tolist() == [p - begin for p in positions if begin <= p < end]
    again = before.copy()
    other, _ = method()(again, cu_seqlens, rng.fold(1, np.arange(30)), VOCABULARY)
    assert len(np.intersect1d(positions, other)) < 0.4 * len(positions)


def test_without_an_exact_count_every_token_is_chosen_by_itself() -> None:
    number, length = 20_000, 22
    ids = np.tile(np.concatenate([[CLS], np.arange(10, 30), [SEP]]).astype(np.int32), number)
    positions, _ = TokenMasking(exact_count=False)(
        ids, np.arange(number + 1) * length, rng.fold(1, np.arange(number)), VOCABULARY
    )
    counts = np.bincount(positions // length, minlength=number)
    assert abs(counts.mean() - 3) < 4 * np.sqrt(20 * 0.15 * 0.85 / number)
    assert abs(counts.var() - 20 * 0.15 * 0.85) < 0.1
    assert abs((counts == 0).mean() - 0.85**20) < 4 * np.sqrt(0.85**20 / number)
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[positions] = True
    both = chosen[5::length] & chosen[12::length]
    assert abs(both.mean() - 0.15**2) < 4 * np.sqrt(0.15**2 / number)


def test_impossible_settings_are_refused() -> None:
    for settings, named in [
        ({"mask_prob": 0}, "mask_prob"),
        ({"random_token_prob": 0.3}, "0.8 and 0.3"),
        ({"max_predictions": 0}, "max_predictions"),
        ({"static_masks": 0}, "static_masks"),
    ]:
        with pytest.raises(ValueError, match=named):
            TokenMasking(**settings)
