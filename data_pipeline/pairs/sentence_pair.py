"""Next-sentence prediction on pairs of single sentences: SENTENCE-PAIR+NSP of RoBERTa."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Spans
from data_pipeline.pairs.pair_labels import NEXT_SENTENCE
from data_pipeline.pairs.segments import (
    NUM_SPECIAL_TOKENS,
    check_dupe_factor,
    check_probabilities,
    planned_segments,
    random_segments,
    truncate,
)
from data_pipeline.rng import Purpose


class SentencePairs:
    """A sentence and the next one, or a sentence and one of another document (Liu et al., 2019, section 4.2).

    With `random_next_prob`, and always for the last sentence of a document if it is alone, the second sentence comes
    from another document; the replaced sentence begins the next pair. Pairs are much shorter than `seq_len`: raise
    `data.global_batch_size` to get as many tokens a step as other formats have.

    Args:
        random_next_prob: Probability of a random second sentence, for sentences that have a next one.
        dupe_factor: Number of different pairings of the corpus; successive epochs use them in turn.
    """

    target: str | None = NEXT_SENTENCE.target
    label_names: tuple[str, ...] = NEXT_SENTENCE.names

    def __init__(self, random_next_prob: float = 0.5, dupe_factor: int = 10) -> None:
        check_probabilities(random_next_prob=random_next_prob)
        check_dupe_factor(dupe_factor)
        self.random_next_prob = random_next_prob
        self.dupe_factor = dupe_factor

    def describe(self) -> dict[str, object]:
        """Return every setting that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__, **vars(self)}

    def plan(self, layout: Layout, seq_len: int, key: rng.Keys) -> Chunks:
        """Pair the sentences of one shard; in a shard of a single text, a sentence left alone is dropped."""
        documents = layout.document_offsets.tolist()
        sentences = np.arange(len(layout.sentence_offsets))
        coins = rng.uniform(rng.fold(key, Purpose.RANDOM_NEXT), sentences) < self.random_next_prob
        has_other = layout.copies.has_other.tolist()
        return Chunks.from_rows(
            list(_pair_sentences(documents, coins.tolist(), has_other, seq_len - NUM_SPECIAL_TOKENS))
        )

    def spans(self, chunks: Chunks, layout: Layout, seq_len: int, keys: rng.Keys) -> Spans:
        """Draw the random second sentences and truncate every pair to `seq_len - 3` tokens."""
        start, stop = planned_segments(chunks, layout)
        random = np.flatnonzero(chunks.is_changed)
        if len(random):
            none = np.zeros_like(random)  # no tokens wanted: the run holds one sentence
            start[random, 1], stop[random, 1] = random_segments(layout, chunks.first[random], none, keys[random])
        truncate(start, stop, seq_len - NUM_SPECIAL_TOKENS, keys)
        return Spans.of_pairs(start, stop, chunks.is_changed)


def _pair_sentences(
    documents: list[int], coins: list[bool], has_other: list[bool], target: int
) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield (first, split, last, target, is_random) of every pair."""
    for (first, end), is_not_alone in zip(pairwise(documents), has_other, strict=True):
        while first < end:
            last = min(first + 2, end)
            is_random = is_not_alone and (last - first == 1 or coins[first])
            if is_random or last - first == 2:
                yield first, first + 1, last, target, is_random
            first = first + 1 if is_random else last
