"""Masks of whole words, alone or several in a row; `masking.masking` says what stands in their place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.masking.masking import Candidates, Positions, TokenMasking, Vocabulary, shuffled
from data_pipeline.records import TokenIds
from data_pipeline.rng import Keys, Purpose

TURNS_AT_ONCE = 128
"""Of all examples of a batch together; any number gives the same masks."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a packed batch, in reading order; every array has shape (words,).

    Attributes:
        sizes: Tokens of the word.
        owner: The example it is in.
        place: Position of its first token in the example.
        begins_run: True for a word that does not follow another without [CLS] or [SEP] between.
    """

    sizes: Positions
    owner: Positions
    place: Positions
    begins_run: NDArray[np.bool_]

    @staticmethod
    def find(input_ids: TokenIds, candidates: Candidates, vocabulary: Vocabulary) -> "Words":
        """Join pieces that continue a word with what stands before them; a word never crosses [CLS] or [SEP]."""
        after_gap = np.diff(candidates.positions, prepend=-2) > 1
        heads = np.flatnonzero(~vocabulary.is_continuation[input_ids[candidates.positions]] | after_gap)
        sizes = np.diff(np.append(heads, len(candidates.positions)))
        return Words(sizes, candidates.owner[heads], candidates.place[heads], after_gap[heads])

    def in_random_order(self, candidates: Candidates) -> Positions:
        """Return the words, example by example in random order, (words,)."""
        owner, place = shuffled(self.owner, self.place, candidates.keys)
        number = np.zeros(int(candidates.positions[-1]) + 1 if len(owner) else 0, dtype=np.int64)
        number[candidates.begins[self.owner] + self.place] = np.arange(len(owner))
        return number[candidates.begins[owner] + place]


class WholeWordMasking(TokenMasking):
    """Choose whole words: a piece and the pieces that continue it are predicted together or not at all.

    Words come in random order until the example's budget of tokens is used; a word that would exceed it is passed
    over, as google-research/bert does. What a chosen piece becomes is still drawn piece by piece.
    """

    def _choose(
        self, input_ids: TokenIds, candidates: Candidates, budgets: Positions, vocabulary: Vocabulary
    ) -> Positions:
        words = Words.find(input_ids, candidates, vocabulary)
        is_taken = self._fill(words, words.in_random_order(candidates), budgets, candidates.keys)
        return candidates.positions[np.repeat(is_taken, words.sizes)]

    def _fill(self, words: Words, order: Positions, budgets: Positions, keys: Keys) -> NDArray[np.bool_]:
        """Return which words are taken when those of each example are tried in the order given."""
        sizes, taken = words.sizes[order].tolist(), []
        for budget, tries in zip(budgets.tolist(), _tries(words.owner, len(budgets)), strict=True):
            left = budget
            for turn in tries:
                if sizes[turn] <= left:
                    left -= sizes[turn]
                    taken.append(turn)
                if not left:
                    break
        return _marked(order[taken], len(order))


class SpanMasking(WholeWordMasking):
    """Choose runs of whole words (n-grams), as ALBERT does (Lan et al., 2020, section 4.1).

    Every word begins a run; runs are tried in random order, their lengths drawn by weight. A run that does not fit what
    is left of the budget loses words at its end until it does; one that meets a chosen word is passed over. A run never
    crosses [CLS] or [SEP].

    Args:
        span_weights: Weights of runs of 1, 2, 3, ... words. ALBERT's are 1/n up to three; SpanBERT's 0.8**n up to ten.
        **settings: As for `TokenMasking`.
    """

    def __init__(self, span_weights: Sequence[float] = (1, 1 / 2, 1 / 3), **settings: Any) -> None:
        super().__init__(**settings)
        if not span_weights or min(span_weights) < 0 or not sum(span_weights):
            raise ValueError(f"masking.span_weights must be weights of runs of 1, 2, ... words, not {span_weights}")
        self.span_weights = [float(weight) for weight in span_weights]

    def _fill(self, words: Words, order: Positions, budgets: Positions, keys: Keys) -> NDArray[np.bool_]:
        shares = np.cumsum(self.span_weights) / sum(self.span_weights)
        draws = rng.uniform(rng.fold(keys, Purpose.SPAN_LENGTH)[words.owner], words.place)
        drawn = 1 + sum((draws >= share).astype(np.int64) for share in shares[:-1])
        run_ends = np.append(np.flatnonzero(words.begins_run)[1:], len(order))
        lasts = np.minimum(np.arange(len(order)) + drawn, run_ends[np.cumsum(words.begins_run) - 1])
        begins = np.concatenate([[0], np.cumsum(words.sizes)])
        return _take_in_turn(order, lasts, begins, _Turns.of(words.owner, budgets), len(self.span_weights))


def _take_in_turn(
    order: Positions, lasts: Positions, begins: Positions, turns: "_Turns", longest: int
) -> NDArray[np.bool_]:
    """Return which words are taken when every example tries its runs in turn: all examples at once, some turns each.

    Of the turns looked at together those count that come before the first which wants a word of an earlier one or may
    not fit: what they do does not depend on one another.

    Args:
        order: The first word of each run, example by example in the order of the turns, (words,).
        lasts: One past the last word of the run that a word begins, (words,).
        begins: Tokens before each word, and before the end, (words + 1,).
        turns: What each example may still do.
        longest: Most words of a run.
    """
    is_taken = np.zeros(len(order) + longest, dtype=bool)
    wanted_by = np.zeros(len(is_taken), dtype=np.int64)
    while len(turns.next):
        number = np.arange(max(1, TURNS_AT_ONCE // len(turns.next)))
        turn = turns.next[:, None] + number  # (examples, turns)
        word = order[np.minimum(turn, len(order) - 1)]
        last = np.where(is_taken[word] | (begins[word + 1] - begins[word] > turns.left[:, None]), word, lasts[word])
        fitting = np.searchsorted(begins, begins[word[:, 0]] + turns.left, side="right") - 1
        last[:, 0] = np.minimum(last[:, 0], fitting)
        size = begins[last] - begins[word]
        run = word[:, :, None] + np.arange(longest)  # (examples, turns, longest)
        is_inside = run < last[:, :, None]
        by = np.broadcast_to(number[:, None], run.shape)
        wanted_by[run[:, ::-1][is_inside[:, ::-1]]] = by[:, ::-1][is_inside[:, ::-1]]  # the first one is written last
        is_first = ((wanted_by[run] == by) | ~is_inside).all(axis=2)
        is_sure = is_first & (np.cumsum(size, axis=1) <= turns.left[:, None]) & (turn < turns.end[:, None])
        counts = np.logical_and.accumulate(is_sure, axis=1)
        is_chosen = counts & ~(is_taken[run] & is_inside).any(axis=2)
        is_taken[run[is_inside & is_chosen[:, :, None]]] = True
        turns = turns.after(counts.sum(axis=1), (size * is_chosen).sum(axis=1))
    return is_taken[: len(order)]


@dataclass(frozen=True, slots=True)
class _Turns:
    """Examples that still choose, with their `next` turn, the `end` of their turns and tokens `left`, (examples,)."""

    next: Positions
    end: Positions
    left: Positions

    @staticmethod
    def of(owner: Positions, budgets: Positions) -> "_Turns":
        ends = np.searchsorted(owner, np.arange(len(budgets) + 1))
        return _Turns(ends[:-1], ends[1:], budgets).after(np.zeros_like(budgets), np.zeros_like(budgets))

    def after(self, taken: Positions, spent: Positions) -> "_Turns":
        """Return the examples that have tokens left, and turns."""
        following, left = self.next + taken, self.left - spent
        rows = np.flatnonzero((left > 0) & (following < self.end))
        return _Turns(following[rows], self.end[rows], left[rows])


def _tries(owner: Positions, num_examples: int) -> Iterator[range]:
    """Yield the turns that each example has in an order of words by example."""
    ends = np.searchsorted(owner, np.arange(num_examples + 1)).tolist()
    return (range(begin, end) for begin, end in pairwise(ends))


def _marked(rows: Positions, size: int) -> NDArray[np.bool_]:
    marks = np.zeros(size, dtype=bool)
    marks[rows] = True
    return marks
