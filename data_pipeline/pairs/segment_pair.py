"""Next-sentence prediction on pairs of segments: the examples of BERT."""

from bisect import bisect_left
from collections.abc import Iterator

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
    target_lengths,
    truncate,
)
from data_pipeline.rng import Purpose


class SegmentPairs:
    """Next-sentence prediction on pairs of segments, as google-research/bert builds them.

    A segment is a run of sentences. A chunk takes sentences until it holds the target number of tokens, and is cut in
    two between random sentences. With `random_next_prob`, and always for a chunk of one sentence, the second segment is
    replaced by a run of sentences of another document; the replaced sentences begin the next chunk (Devlin et al.,
    2019, section 3.1 and appendix A.2; `create_instances_from_document`).

    One difference: the other document is never a copy of the chunk's document, so every pair labeled random is random.
    A shard with a single text has no random pairs, and its chunks of one sentence are dropped.

    Args:
        short_seq_prob: Share of documents whose chunks aim at a random shorter length.
        random_next_prob: Probability of a random second segment, for chunks of several sentences.
        dupe_factor: Number of different cuts of the corpus; successive epochs use them in turn.
    """

    target: str | None = NEXT_SENTENCE.target
    label_names: tuple[str, ...] = NEXT_SENTENCE.names

    def __init__(self, short_seq_prob: float = 0.1, random_next_prob: float = 0.5, dupe_factor: int = 10) -> None:
        check_probabilities(short_seq_prob=short_seq_prob, random_next_prob=random_next_prob)
        check_dupe_factor(dupe_factor)
        self.short_seq_prob = short_seq_prob
        self.random_next_prob = random_next_prob
        self.dupe_factor = dupe_factor

    def describe(self) -> dict[str, object]:
        """Return every setting that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__, **vars(self)}

    def plan(self, layout: Layout, seq_len: int, key: rng.Keys) -> Chunks:
        """Cut the documents of one shard into chunks (see the class).

        The target is keyed by the document. The cut and the coin are keyed by the first sentence of the chunk, which no
        other chunk begins with.
        """
        sentences = np.arange(len(layout.sentence_offsets))
        targets = target_lengths(len(layout.document_offsets) - 1, seq_len, self.short_seq_prob, key)
        cuts = rng.uniform(rng.fold(key, Purpose.SEGMENT_SPLIT), sentences)
        coins = rng.uniform(rng.fold(key, Purpose.RANDOM_NEXT), sentences) < self.random_next_prob
        rows = _cut_documents(
            layout.sentence_offsets.tolist(),
            layout.document_offsets.tolist(),
            targets.tolist(),
            cuts.tolist(),
            coins.tolist(),
            layout.copies.has_other.tolist(),
        )
        return Chunks.from_rows(list(rows))

    def spans(self, chunks: Chunks, layout: Layout, seq_len: int, keys: rng.Keys) -> Spans:
        """Draw the random second segments and truncate every pair to `seq_len - 3` tokens.

        Args:
            chunks: Chunks of the documents that `layout` describes, (examples,).
            layout: Sentences and documents of the window; random segments come from all its documents.
            seq_len: Most tokens of an example, its three special tokens included.
            keys: One key for each example, (examples,).

        Returns:
            Ranges of the window's tokens, two segments for each example.
        """
        start, stop = planned_segments(chunks, layout)
        random = np.flatnonzero(chunks.is_changed)
        if len(random):
            missing = chunks.target[random] - (stop[random, 0] - start[random, 0])
            start[random, 1], stop[random, 1] = random_segments(layout, chunks.first[random], missing, keys[random])
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
    """Yield (first, split, last, target, is_random) of every chunk; plain integers, because this loop is hot."""
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
