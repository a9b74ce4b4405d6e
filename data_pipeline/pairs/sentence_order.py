"""Sentence-order prediction: ALBERT's examples."""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Lengths, Spans
from data_pipeline.pairs.segments import (
    NUM_SPECIAL_TOKENS,
    check_dupe_factor,
    check_probabilities,
    target_lengths,
    truncate,
)
from data_pipeline.rng import Purpose


class SentenceOrder:
    """Two successive segments of one document, in their order or swapped (Lan et al., 2020, section 3.1).

    Chunks are filled and cut as for next-sentence prediction, but each holds at least two sentences: a long first
    sentence is joined by the next, and a last sentence that would be left alone joins the chunk before it. google-
    research/albert gives such chunks a random document under the label "swapped"; here every label is true. A document
    of one sentence has no order and is left out.

    Args:
        short_seq_prob: Share of documents whose chunks aim at a random shorter length.
        swap_prob: Probability that the second segment stands first.
        dupe_factor: Number of different cuts of the corpus that successive epochs go through.
    """

    target: str | None = "sop"
    label_names: tuple[str, ...] = ("in_order", "swapped")

    def __init__(self, short_seq_prob: float = 0.1, swap_prob: float = 0.5, dupe_factor: int = 10) -> None:
        check_probabilities(short_seq_prob=short_seq_prob, swap_prob=swap_prob)
        check_dupe_factor(dupe_factor)
        self.short_seq_prob = short_seq_prob
        self.swap_prob = swap_prob
        self.dupe_factor = dupe_factor

    def describe(self) -> dict[str, object]:
        """Everything that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__, **vars(self)}

    def plan(self, lengths: Lengths, seq_len: int, key: rng.Keys) -> Chunks:
        """Cut the documents of one shard into chunks of two sentences or more."""
        sentences = np.arange(len(lengths.sentence_offsets))
        targets = target_lengths(len(lengths.document_offsets) - 1, seq_len, self.short_seq_prob, key)
        cuts = rng.uniform(rng.fold(key, Purpose.SEGMENT_SPLIT), sentences)
        coins = rng.uniform(rng.fold(key, Purpose.SEGMENT_ORDER), sentences) < self.swap_prob
        rows = _cut_documents(
            lengths.sentence_offsets.tolist(),
            lengths.document_offsets.tolist(),
            targets.tolist(),
            cuts.tolist(),
            coins.tolist(),
        )
        return Chunks.from_rows(list(rows))

    def spans(self, chunks: Chunks, lengths: Lengths, seq_len: int, keys: rng.Keys) -> Spans:
        """Truncate every pair to `seq_len - 3` tokens and swap those that are to be swapped."""
        offsets = lengths.sentence_offsets
        start = np.stack([offsets[chunks.first], offsets[chunks.split]], axis=1)
        stop = np.stack([offsets[chunks.split], offsets[chunks.last]], axis=1)
        truncate(start, stop, seq_len - NUM_SPECIAL_TOKENS, keys)
        swapped = chunks.is_changed[:, None]
        return Spans.of_pairs(
            np.where(swapped, start[:, ::-1], start), np.where(swapped, stop[:, ::-1], stop), chunks.is_changed
        )


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
