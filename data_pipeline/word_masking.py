"""Masks of whole words, one by one or several in a row; `data_pipeline.masking` says what stands in their place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.masking import Candidates, Positions, TokenMasking, Vocabulary, shuffled
from data_pipeline.records import TokenIds
from data_pipeline.rng import Keys, Purpose


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
        begins = np.concatenate([[0], np.cumsum(words.sizes)]).tolist()
        words_in_turn, lasts_in_turn = order.tolist(), lasts[order].tolist()
        is_taken = [False] * len(order)
        for budget, tries in zip(budgets.tolist(), _tries(words.owner, len(budgets)), strict=True):
            left = budget
            for turn in tries:
                word, last = words_in_turn[turn], lasts_in_turn[turn]
                while last > word and begins[last] - begins[word] > left:
                    last -= 1
                if last > word and True not in is_taken[word:last]:
                    left -= begins[last] - begins[word]
                    is_taken[word:last] = [True] * (last - word)
                if not left:
                    break
        return np.array(is_taken, dtype=bool)


def _tries(owner: Positions, num_examples: int) -> Iterator[range]:
    """Yield the turns that each example has in an order of words by example."""
    ends = np.searchsorted(owner, np.arange(num_examples + 1)).tolist()
    return (range(begin, end) for begin, end in pairwise(ends))


def _marked(rows: Positions, size: int) -> NDArray[np.bool_]:
    marks = np.zeros(size, dtype=bool)
    marks[rows] = True
    return marks
