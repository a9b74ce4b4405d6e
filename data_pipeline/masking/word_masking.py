"""Masks of whole words, one by one or several in a row; `masking.masking` says how masked tokens are shown."""

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

ATTEMPTS_AT_ONCE = 128
"""Attempts of all examples of a batch together in one pass; any number gives the same masks."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a packed batch, in reading order; every array has shape (words,).

    Attributes:
        sizes: Tokens of the word.
        owner: The example of the word.
        offset: Position of the word's first token in the example.
        begins_run: True for a word that does not follow another without [CLS] or [SEP] between.
    """

    sizes: Positions
    owner: Positions
    offset: Positions
    begins_run: NDArray[np.bool_]

    @staticmethod
    def find(input_ids: TokenIds, candidates: Candidates, vocabulary: Vocabulary) -> "Words":
        """Return the words; pieces that continue a word belong to it, and a word never crosses [CLS] or [SEP]."""
        after_gap = np.diff(candidates.positions, prepend=-2) > 1
        heads = np.flatnonzero(~vocabulary.is_continuation[input_ids[candidates.positions]] | after_gap)
        sizes = np.diff(np.append(heads, len(candidates.positions)))
        return Words(sizes, candidates.owner[heads], candidates.offset[heads], after_gap[heads])

    def in_random_order(self, candidates: Candidates) -> Positions:
        """Return the words, example by example in random order, (words,)."""
        owner, offset = shuffled(self.owner, self.offset, candidates.keys)
        number = np.zeros(int(candidates.positions[-1]) + 1 if len(owner) else 0, dtype=np.int64)
        number[candidates.begins[self.owner] + self.offset] = np.arange(len(owner))
        return number[candidates.begins[owner] + offset]


class WholeWordMasking(TokenMasking):
    """Choose whole words: a piece and the pieces that continue it are predicted together or not at all.

    Words come in random order until the example's budget of tokens is used; a word that would exceed it is passed
    over, as google-research/bert does. What a chosen piece becomes is still drawn piece by piece.
    """

    def _choose(
        self, input_ids: TokenIds, candidates: Candidates, budgets: Positions, vocabulary: Vocabulary
    ) -> Positions:
        words = Words.find(input_ids, candidates, vocabulary)
        is_taken = self._take(words, words.in_random_order(candidates), budgets, candidates.keys)
        return candidates.positions[np.repeat(is_taken, words.sizes)]

    def _take(self, words: Words, order: Positions, budgets: Positions, keys: Keys) -> NDArray[np.bool_]:
        """Return which words are taken if those of each example are tried in the order given, (words,)."""
        sizes, taken = words.sizes[order].tolist(), []
        for budget, tries in zip(budgets.tolist(), _tries(words.owner, len(budgets)), strict=True):
            left = budget
            for attempt in tries:
                if sizes[attempt] <= left:
                    left -= sizes[attempt]
                    taken.append(attempt)
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
            raise ValueError(f"masking.span_weights must be weights of runs of 1, 2, ... words; got {span_weights}")
        self.span_weights = [float(weight) for weight in span_weights]

    def _take(self, words: Words, order: Positions, budgets: Positions, keys: Keys) -> NDArray[np.bool_]:
        shares = np.cumsum(self.span_weights) / sum(self.span_weights)
        draws = rng.uniform(rng.fold(keys, Purpose.SPAN_LENGTH)[words.owner], words.offset)  # (words,)
        drawn = 1 + sum((draws >= share).astype(np.int64) for share in shares[:-1])
        run_ends = np.append(np.flatnonzero(words.begins_run)[1:], len(order))
        lasts = np.minimum(np.arange(len(order)) + drawn, run_ends[np.cumsum(words.begins_run) - 1])
        begins = np.concatenate([[0], np.cumsum(words.sizes)])
        return _take_runs(order, lasts, begins, _Attempts.begin(words.owner, budgets), len(self.span_weights))


def _take_runs(
    order: Positions, lasts: Positions, begins: Positions, attempts: "_Attempts", longest: int
) -> NDArray[np.bool_]:
    """Return which words are taken if every example attempts its runs one after another.

    All examples are worked on at once, several attempts of each at a time. Attempts of an example that neither want a
    word of each other nor can exceed the budget together give the same result side by side as one after another. So
    each pass carries out the attempts before the first one that wants a word of an earlier one or may not fit, and the
    next pass begins with that one.

    Five words of one token, runs of two words, a budget of three, attempts in the order 3, 1, 2, 0, 4 (word 3 begins
    the run 3 4, and so on). The first pass carries out attempt 0 only, which takes 3 and 4: attempt 1 wants 1 and 2,
    which would make four tokens. The second pass begins with attempt 1, whose run is cut to what fits, and takes 1:

    >>> order, lasts, begins = np.array([3, 1, 2, 0, 4]), np.array([2, 3, 4, 5, 5]), np.arange(6)
    >>> attempts = _Attempts(np.array([0]), np.array([5]), np.array([3]))
    >>> np.flatnonzero(_take_runs(order, lasts, begins, attempts, longest=2)).tolist()
    [1, 3, 4]

    Args:
        order: The first word of each run, example by example in the order of the attempts, (words,).
        lasts: One past the last word of the run that a word begins, (words,).
        begins: Tokens before each word, and before the end, (words + 1,).
        attempts: What each example may still attempt.
        longest: Most words of a run.

    Returns:
        Whether each word is taken, (words,).
    """
    is_taken = np.zeros(len(order) + longest, dtype=bool)  # (words + longest,)
    wanted_by = np.zeros(len(is_taken), dtype=np.int64)  # (words + longest,): the first attempt of a pass to want it
    while len(attempts.next):
        number = np.arange(max(1, ATTEMPTS_AT_ONCE // len(attempts.next)))  # (attempts,)
        attempt = attempts.next[:, None] + number  # (examples, attempts)
        word = order[np.minimum(attempt, len(order) - 1)]  # (examples, attempts)
        is_hopeless = is_taken[word] | (begins[word + 1] - begins[word] > attempts.tokens_left[:, None])
        last = np.where(is_hopeless, word, lasts[word])  # (examples, attempts); `word` itself for a run of no words
        fitting = np.searchsorted(begins, begins[word[:, 0]] + attempts.tokens_left, side="right") - 1  # (examples,)
        last[:, 0] = np.minimum(last[:, 0], fitting)
        size = begins[last] - begins[word]  # (examples, attempts)
        run = word[:, :, None] + np.arange(longest)  # (examples, attempts, longest)
        is_inside = run < last[:, :, None]
        by = np.broadcast_to(number[:, None], run.shape)  # (examples, attempts, longest)
        wanted_by[run[:, ::-1][is_inside[:, ::-1]]] = by[:, ::-1][is_inside[:, ::-1]]  # the first one is written last
        is_first = ((wanted_by[run] == by) | ~is_inside).all(axis=2)  # (examples, attempts)
        is_sure = is_first & (np.cumsum(size, axis=1) <= attempts.tokens_left[:, None])
        is_carried_out = np.logical_and.accumulate(is_sure & (attempt < attempts.end[:, None]), axis=1)
        is_chosen = is_carried_out & ~(is_taken[run] & is_inside).any(axis=2)  # (examples, attempts)
        is_taken[run[is_inside & is_chosen[:, :, None]]] = True
        attempts = attempts.after(is_carried_out.sum(axis=1), (size * is_chosen).sum(axis=1))
    return is_taken[: len(order)]


@dataclass(frozen=True, slots=True)
class _Attempts:
    """The examples that still choose words; every array has shape (examples,).

    Attributes:
        next: The attempt that comes next, as an index into the order of all words.
        end: One past the last attempt of the example.
        tokens_left: Tokens that the example may still take.
    """

    next: Positions
    end: Positions
    tokens_left: Positions

    @staticmethod
    def begin(owner: Positions, budgets: Positions) -> "_Attempts":
        """Return all examples before their first attempt, given the example of each word and the budgets."""
        ends = np.searchsorted(owner, np.arange(len(budgets) + 1))  # (examples + 1,)
        return _Attempts(ends[:-1], ends[1:], budgets).after(np.zeros_like(budgets), np.zeros_like(budgets))

    def after(self, num_attempts: Positions, num_tokens: Positions) -> "_Attempts":
        """Return the examples that have attempts and tokens left after some attempts that took some tokens."""
        following, left = self.next + num_attempts, self.tokens_left - num_tokens
        rows = np.flatnonzero((left > 0) & (following < self.end))
        return _Attempts(following[rows], self.end[rows], left[rows])


def _tries(owner: Positions, num_examples: int) -> Iterator[range]:
    """Yield the attempts of each example, as indices into the order of all words."""
    ends = np.searchsorted(owner, np.arange(num_examples + 1)).tolist()
    return (range(begin, end) for begin, end in pairwise(ends))


def _marked(rows: Positions, size: int) -> NDArray[np.bool_]:
    marks = np.zeros(size, dtype=bool)
    marks[rows] = True
    return marks
