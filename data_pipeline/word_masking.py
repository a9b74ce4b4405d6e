"""Masks of whole words, one by one or several in a row; `data_pipeline.masking` says what stands in their place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.masking import Positions, TokenMasking, Vocabulary
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
    def find(
        input_ids: TokenIds, maskable: Positions, owner: Positions, place: Positions, vocabulary: Vocabulary
    ) -> "Words":
        """Join pieces that continue a word with what stands before them; a word never crosses [CLS] or [SEP]."""
        after_gap = np.diff(maskable, prepend=-2) > 1
        heads = np.flatnonzero(~vocabulary.is_continuation[input_ids[maskable]] | after_gap)
        sizes = np.diff(np.append(heads, len(maskable)))
        return Words(sizes, owner[maskable[heads]], place[maskable[heads]], after_gap[heads])


class WholeWordMasking(TokenMasking):
    """Choose whole words: a piece and the pieces that continue it are predicted together or not at all.

    Words come in random order until the example's budget of tokens is used; a word that would exceed it is passed
    over, as google-research/bert does. What a chosen piece becomes is still drawn piece by piece.
    """

    def _choose(
        self,
        input_ids: TokenIds,
        maskable: Positions,
        owner: Positions,
        place: Positions,
        budgets: Positions,
        keys: Keys,
        vocabulary: Vocabulary,
    ) -> Positions:
        words = Words.find(input_ids, maskable, owner, place, vocabulary)
        draws = rng.uniform(rng.fold(keys, Purpose.MASK_CHOICE)[words.owner], words.place)
        order = np.argsort(words.owner + draws, kind="stable")
        is_taken = self._fill(words, order, budgets, keys)
        return maskable[np.repeat(is_taken, words.sizes)]

    def _fill(self, words: Words, order: Positions, budgets: Positions, keys: Keys) -> NDArray[np.bool_]:
        """Return which words are taken when they are tried in the order given."""
        left = budgets.tolist()
        is_taken = np.zeros(len(order), dtype=bool)
        for word, owner, size in zip(
            order.tolist(), words.owner[order].tolist(), words.sizes[order].tolist(), strict=True
        ):
            if size <= left[owner]:
                left[owner] -= size
                is_taken[word] = True
        return is_taken


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
        run_ends = np.append(np.flatnonzero(words.begins_run), len(order))
        end_of_run = run_ends[np.searchsorted(run_ends, np.arange(len(order)), side="right")]
        lasts = np.minimum(np.arange(len(order)) + 1 + np.searchsorted(shares, draws, side="right"), end_of_run)
        begins = np.concatenate([[0], np.cumsum(words.sizes)]).tolist()
        left, is_taken = budgets.tolist(), [False] * len(order)
        for word, owner, last in zip(order.tolist(), words.owner[order].tolist(), lasts[order].tolist(), strict=True):
            while last > word and begins[last] - begins[word] > left[owner]:
                last -= 1
            if last > word and not any(is_taken[word:last]):
                left[owner] -= begins[last] - begins[word]
                is_taken[word:last] = [True] * (last - word)
        return np.array(is_taken, dtype=bool)
