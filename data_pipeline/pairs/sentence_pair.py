"""Next-sentence prediction on pairs of single sentences: RoBERTa's SENTENCE-PAIR+NSP."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Lengths, Spans
from data_pipeline.pairs.segments import (
    NUM_SPECIAL_TOKENS,
    check_dupe_factor,
    check_probabilities,
    random_segments,
    truncate,
)
from data_pipeline.rng import Purpose


class SentencePairs:
    """Two natural sentences, the second one the next of the document or any of another (Liu et al., 2019, section 4.2).

    With `random_next_prob`, and always for a document's last lone sentence, the second sentence comes from another
    document, and the one it pushed out begins the next pair. Pairs are much shorter than `seq_len`: raise
    `data.global_batch_size` for as many tokens a step as other formats have.

    Args:
        random_next_prob: Probability of a random second sentence where there is a next one.
        dupe_factor: Number of different pairings of the corpus that successive epochs go through.
    """

    target: str | None = "nsp"
    label_names: tuple[str, ...] = ("is_next", "random_next")

    def __init__(self, random_next_prob: float = 0.5, dupe_factor: int = 10) -> None:
        check_probabilities(random_next_prob=random_next_prob)
        check_dupe_factor(dupe_factor)
        self.random_next_prob = random_next_prob
        self.dupe_factor = dupe_factor

    def describe(self) -> dict[str, object]:
        """Everything that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__, **vars(self)}

    def plan(self, lengths: Lengths, seq_len: int, key: rng.Keys) -> Chunks:
        """Pair the sentences of one shard; a lone sentence in a shard of one text is dropped."""
        documents = lengths.document_offsets.tolist()
        sentences = np.arange(len(lengths.sentence_offsets))
        coins = rng.uniform(rng.fold(key, Purpose.RANDOM_NEXT), sentences) < self.random_next_prob
        has_other = lengths.copies.has_other.tolist()
        return Chunks.from_rows(
            list(_pair_sentences(documents, coins.tolist(), has_other, seq_len - NUM_SPECIAL_TOKENS))
        )

    def spans(self, chunks: Chunks, lengths: Lengths, seq_len: int, keys: rng.Keys) -> Spans:
        """Draw the random second sentences and truncate every pair to `seq_len - 3` tokens."""
        offsets = lengths.sentence_offsets
        start = np.stack([offsets[chunks.first], offsets[chunks.split]], axis=1)
        stop = np.stack([offsets[chunks.split], offsets[chunks.last]], axis=1)
        random = np.flatnonzero(chunks.is_changed)
        if len(random):
            one = np.zeros_like(random)  # at least one token: one sentence
            start[random, 1], stop[random, 1] = random_segments(lengths, chunks.first[random], one, keys[random])
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
