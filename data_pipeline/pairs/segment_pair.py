"""Next-sentence prediction on pairs of segments: BERT's own examples."""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Lengths, Spans
from data_pipeline.pairs.segments import (
    NUM_SPECIAL_TOKENS,
    check_dupe_factor,
    check_probabilities,
    random_segments,
    target_lengths,
    truncate,
)
from data_pipeline.rng import Purpose


class SegmentPairs:
    """Next-sentence prediction on pairs of segments, as google-research/bert builds them.

    A segment is a run of sentences. A chunk takes sentences until it holds the target number of tokens; a random point
    cuts it in two. With `random_next_prob`, and always for a chunk of one sentence, the second part is replaced by a
    run of sentences of another document, and the sentences it pushed out begin the next chunk (Devlin et al., 2019,
    section 3.1 and appendix A.2; `create_instances_from_document`). One difference: a random document is never the
    document itself nor a copy of it, so a pair labelled random always is. In a shard with a single text nothing is
    random; its one-sentence chunks are dropped.

    Args:
        short_seq_prob: Share of documents whose chunks aim at a random shorter length.
        random_next_prob: Probability of a random second segment where the chunk has several sentences.
        dupe_factor: Number of different cuts of the corpus that successive epochs go through.
    """

    target: str | None = "nsp"
    label_names: tuple[str, ...] = ("is_next", "random_next")

    def __init__(self, short_seq_prob: float = 0.1, random_next_prob: float = 0.5, dupe_factor: int = 10) -> None:
        check_probabilities(short_seq_prob=short_seq_prob, random_next_prob=random_next_prob)
        check_dupe_factor(dupe_factor)
        self.short_seq_prob = short_seq_prob
        self.random_next_prob = random_next_prob
        self.dupe_factor = dupe_factor

    def describe(self) -> dict[str, object]:
        """Everything that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__, **vars(self)}

    def plan(self, lengths: Lengths, seq_len: int, key: rng.Keys) -> Chunks:
        """Cut the documents of one shard into chunks (see the class).

        Every decision is keyed by where it is taken: the target by its document, the cut and the coin by the sentence
        the chunk begins with, which no other chunk shares.
        """
        sentences = np.arange(len(lengths.sentence_offsets))
        targets = target_lengths(len(lengths.document_offsets) - 1, seq_len, self.short_seq_prob, key)
        cuts = rng.uniform(rng.fold(key, Purpose.SEGMENT_SPLIT), sentences)
        coins = rng.uniform(rng.fold(key, Purpose.RANDOM_NEXT), sentences) < self.random_next_prob
        rows = _cut_documents(
            lengths.sentence_offsets.tolist(),
            lengths.document_offsets.tolist(),
            targets.tolist(),
            cuts.tolist(),
            coins.tolist(),
            lengths.copies.has_other.tolist(),
        )
        return Chunks.from_rows(list(rows))

    def spans(self, chunks: Chunks, lengths: Lengths, seq_len: int, keys: rng.Keys) -> Spans:
        """Draw the random second segments and truncate every pair to `seq_len - 3` tokens.

        Args:
            chunks: Chunks of the documents that `lengths` describes, (examples,).
            lengths: Sentences and documents of the window; random segments come from all of them.
            seq_len: Tokens of an example with its three special tokens.
            keys: One key an example, (examples,).

        Returns:
            Ranges of the window's tokens, two segments an example.
        """
        offsets = lengths.sentence_offsets
        start = np.stack([offsets[chunks.first], offsets[chunks.split]], axis=1)
        stop = np.stack([offsets[chunks.split], offsets[chunks.last]], axis=1)
        random = np.flatnonzero(chunks.is_changed)
        if len(random):
            wanted = chunks.target[random] - (stop[random, 0] - start[random, 0])
            start[random, 1], stop[random, 1] = random_segments(lengths, chunks.first[random], wanted, keys[random])
        truncate(start, stop, seq_len - NUM_SPECIAL_TOKENS, keys)
        return Spans.of_pairs(start, stop, chunks.is_changed)


def _cut_documents(
    offsets: list[int],
    documents: list[int],
    targets: list[int],
    cuts: list[float],
    coins: list[bool],
    has_other: list[bool],
) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield (first, split, last, target, is_random) of every chunk; the hot loop of planning, in plain integers."""
    for document, target in enumerate(targets):
        first, end = documents[document], documents[document + 1]
        while first < end:
            last = bisect_left(offsets, offsets[first] + target, first + 1, end)
            count = last - first
            split = first + 1 + (int(cuts[first] * (count - 1)) if count > 1 else 0)
            is_random = has_other[document] and (count == 1 or coins[first])
            if is_random or count > 1:
                yield first, split, last, target, is_random
            first = split if is_random else last
