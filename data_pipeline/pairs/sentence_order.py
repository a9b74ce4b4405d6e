"""Sentence-order prediction: the examples of ALBERT."""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Spans
from data_pipeline.pairs.pair_labels import SENTENCE_ORDER
from data_pipeline.pairs.segments import (
    NUM_SPECIAL_TOKENS,
    check_dupe_factor,
    check_probabilities,
    planned_segments,
    target_lengths,
    truncate,
)
from data_pipeline.rng import Purpose


class SentenceOrder:
    """Two successive segments of one document, in order or swapped (Lan et al., 2020, section 3.1).

    Chunks are filled and cut as for next-sentence prediction, but each holds at least two sentences: a long first
    sentence takes the next one with it, and the last sentence of a document joins the chunk before it if it would be
    alone. google-research/albert pairs such a sentence with a random document and labels the pair "swapped"; here every
    pair labeled swapped is swapped. A document of one sentence has no order and gives no example.

    Args:
        short_seq_prob: Share of documents whose chunks aim at a random shorter length.
        swap_prob: Probability that the two segments are swapped.
        dupe_factor: Number of different cuts of the corpus; successive epochs use them in turn.
    """

    target: str | None = SENTENCE_ORDER.target
    label_names: tuple[str, ...] = SENTENCE_ORDER.names

    def __init__(self, short_seq_prob: float = 0.1, swap_prob: float = 0.5, dupe_factor: int = 10) -> None:
        check_probabilities(short_seq_prob=short_seq_prob, swap_prob=swap_prob)
        check_dupe_factor(dupe_factor)
        self.short_seq_prob = short_seq_prob
        self.swap_prob = swap_prob
        self.dupe_factor = dupe_factor

    def describe(self) -> dict[str, object]:
        """Return every setting that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__, **vars(self)}

    def plan(self, layout: Layout, seq_len: int, key: rng.Keys) -> Chunks:
        """Cut the documents of one shard into chunks of two sentences or more."""
        sentences = np.arange(len(layout.sentence_offsets))
        targets = target_lengths(len(layout.document_offsets) - 1, seq_len, self.short_seq_prob, key)
        cuts = rng.uniform(rng.fold(key, Purpose.SEGMENT_SPLIT), sentences)
        coins = rng.uniform(rng.fold(key, Purpose.SEGMENT_ORDER), sentences) < self.swap_prob
        rows = _cut_documents(
            layout.sentence_offsets.tolist(),
            layout.document_offsets.tolist(),
            targets.tolist(),
            cuts.tolist(),
            coins.tolist(),
        )
        return Chunks.from_rows(list(rows))

    def spans(self, chunks: Chunks, layout: Layout, seq_len: int, keys: rng.Keys) -> Spans:
        """Truncate every pair to `seq_len - 3` tokens, and swap the segments of changed pairs."""
        start, stop = planned_segments(chunks, layout)
        truncate(start, stop, seq_len - NUM_SPECIAL_TOKENS, keys)
        is_swapped = chunks.is_changed[:, None]  # (examples, 1)
        start, stop = (np.where(is_swapped, side[:, ::-1], side) for side in (start, stop))
        return Spans.of_pairs(start, stop, chunks.is_changed)


def _cut_documents(
    offsets: list[int], documents: list[int], targets: list[int], cuts: list[float], coins: list[bool]
) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield (first, split, last, target, is_swapped) of every chunk, in plain integers."""
    for document, target in enumerate(targets):
        first, end = documents[document], documents[document + 1]
        while end - first > 1:
            last = bisect_left(offsets, offsets[first] + target, first + 2, end)
            last = end if end - last == 1 else last
            yield first, first + 1 + int(cuts[first] * (last - first - 1)), last, target, coins[first]
            first = last
