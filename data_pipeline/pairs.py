"""Sentence lengths -> training examples, as positions in the token stream; no token is touched here.

Planning a shard needs only its sentence lengths and a key, never the other shards, so the number of examples of a
shard does not depend on the order in which it is read. What depends on other documents (the random second segment) or
on the position in the stream (its choice, the truncation) is drawn afterwards, by the example's own key.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.rng import Purpose

Offsets = NDArray[np.int64]
NUM_SPECIAL_TOKENS = 3
"""[CLS] A [SEP] B [SEP]."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Where sentences and documents begin in a run of tokens.

    Attributes:
        sentence_offsets: Token offset of every sentence and the end, (sentences + 1,).
        document_offsets: Sentence index at which every document begins and the end, (documents + 1,).
    """

    sentence_offsets: Offsets
    document_offsets: Offsets


@dataclass(frozen=True, slots=True)
class Chunks:
    """The planned examples of a shard, as sentence indices; every array has shape (examples,).

    Attributes:
        first: First sentence of the first segment.
        split: Sentence at which the second segment begins.
        last: One past the last sentence of the chunk.
        target: Number of tokens the chunk aimed at.
        is_random: True where the second segment is to come from another document.
    """

    first: Offsets
    split: Offsets
    last: Offsets
    target: Offsets
    is_random: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: NDArray[np.int64]) -> "Chunks":
        """Return some of the chunks, in the order given."""
        return Chunks(self.first[rows], self.split[rows], self.last[rows], self.target[rows], self.is_random[rows])

    @staticmethod
    def join(parts: Sequence["Chunks"], bases: Offsets) -> "Chunks":
        """Concatenate the chunks of several shards whose sentences are numbered from `bases` on, (shards,)."""
        moved = [
            (p.first + base, p.split + base, p.last + base, p.target, p.is_random)
            for p, base in zip(parts, bases, strict=True)
        ]
        return Chunks(*(np.concatenate(arrays) for arrays in zip(*moved, strict=True)))


@dataclass(frozen=True, slots=True)
class Spans:
    """Examples as ranges of the token stream.

    Attributes:
        start: First token of each segment, (examples, segments).
        stop: One past the last token of each segment, (examples, segments).
        labels: 0 next, 1 random or swapped, `NO_LABEL` without a pair label, (examples,).
    """

    start: Offsets
    stop: Offsets
    labels: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example with [CLS] and one [SEP] a segment, (examples,)."""
        sizes = self.stop - self.start
        return sizes.sum(axis=1) + (sizes > 0).sum(axis=1) + 1

    def __getitem__(self, rows: NDArray[np.int64]) -> "Spans":
        return Spans(self.start[rows], self.stop[rows], self.labels[rows])

    def __setitem__(self, rows: NDArray[np.int64], spans: "Spans") -> None:
        self.start[rows], self.stop[rows], self.labels[rows] = spans.start, spans.stop, spans.labels


class PairFormat(Protocol):
    """How a document becomes examples; one class a format, chosen by the `pairs` config group."""

    dupe_factor: int

    def plan(self, lengths: Lengths, seq_len: int, key: rng.Keys) -> Chunks:
        """Cut the documents of one shard into chunks of at most about `seq_len` tokens."""

    def spans(self, chunks: Chunks, lengths: Lengths, seq_len: int, keys: rng.Keys) -> Spans:
        """Turn chunks into token ranges that fit `seq_len`; `keys` holds one key an example."""

    def describe(self) -> dict[str, object]:
        """Everything that decides the examples, for the fingerprint of the stream."""


class SegmentPairs:
    """Next-sentence prediction on pairs of segments, as google-research/bert builds them.

    A segment is a run of sentences. A chunk takes sentences until it holds the target number of tokens; a random point
    cuts it in two. With `random_next_prob`, and always for a chunk of one sentence, the second part is replaced by a
    run of sentences of another document, and the sentences it pushed out begin the next chunk (Devlin et al., 2019,
    section 3.1 and appendix A.2; `create_instances_from_document`). One difference: a random document is never the
    document itself, so a pair labelled random always is. In a shard with a single document nothing is random; its one-
    sentence chunks are dropped.

    Args:
        short_seq_prob: Share of documents whose chunks aim at a random shorter length.
        random_next_prob: Probability of a random second segment where the chunk has several sentences.
        dupe_factor: Number of different cuts of the corpus that successive epochs go through.
    """

    def __init__(self, short_seq_prob: float = 0.1, random_next_prob: float = 0.5, dupe_factor: int = 10) -> None:
        for name, value in (("short_seq_prob", short_seq_prob), ("random_next_prob", random_next_prob)):
            if not 0 <= value <= 1:
                raise ValueError(f"pairs.{name} must be a probability in [0, 1], not {value}")
        if dupe_factor < 1:
            raise ValueError(f"pairs.dupe_factor must be at least 1, not {dupe_factor}")
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
        num_documents = len(lengths.document_offsets) - 1
        sentences = np.arange(len(lengths.sentence_offsets))
        targets = self._targets(num_documents, seq_len, key)
        cuts = rng.uniform(rng.fold(key, Purpose.SEGMENT_SPLIT), sentences)
        coins = rng.uniform(rng.fold(key, Purpose.RANDOM_NEXT), sentences) < self.random_next_prob
        rows = list(
            _cut_documents(
                lengths.sentence_offsets.tolist(),
                lengths.document_offsets.tolist(),
                targets.tolist(),
                cuts.tolist(),
                coins.tolist(),
                num_documents > 1,
            )
        )
        table = np.array(rows, dtype=np.int64).reshape(-1, 5)
        first, split, last, target, is_random = table.T
        return Chunks(first, split, last, target, is_random.astype(bool))

    def _targets(self, num_documents: int, seq_len: int, key: rng.Keys) -> NDArray[np.int64]:
        longest = seq_len - NUM_SPECIAL_TOKENS
        target_key, documents = rng.fold(key, Purpose.TARGET_LENGTH), np.arange(num_documents)
        is_short = rng.uniform(target_key, 2 * documents) < self.short_seq_prob
        short = 2 + rng.integers(target_key, 2 * documents + 1, longest - 1)
        return np.where(is_short, short, longest)

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
        random = np.flatnonzero(chunks.is_random)
        if len(random):
            wanted = chunks.target[random] - (stop[random, 0] - start[random, 0])
            start[random, 1], stop[random, 1] = _random_segments(lengths, chunks.first[random], wanted, keys[random])
        truncate(start, stop, seq_len - NUM_SPECIAL_TOKENS, keys)
        return Spans(start, stop, chunks.is_random.astype(np.int64))


def _cut_documents(
    offsets: list[int], documents: list[int], targets: list[int], cuts: list[float], coins: list[bool], has_other: bool
) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield (first, split, last, target, is_random) of every chunk; the hot loop of planning, in plain integers."""
    for document, target in enumerate(targets):
        first, end = documents[document], documents[document + 1]
        while first < end:
            last = bisect_left(offsets, offsets[first] + target, first + 1, end)
            count = last - first
            split = first + 1 + (int(cuts[first] * (count - 1)) if count > 1 else 0)
            is_random = has_other and (count == 1 or coins[first])
            if is_random or count > 1:
                yield first, split, last, target, is_random
            first = split if is_random else last


def _random_segments(
    lengths: Lengths, own_sentence: Offsets, wanted: Offsets, keys: rng.Keys
) -> tuple[Offsets, Offsets]:
    """Pick, for each key, a run of sentences of at least `wanted` tokens from a document other than the own one.

    The document is uniform over the others, the first sentence uniform over the document; the run ends with the
    document where that comes first, and holds at least one sentence.
    """
    documents, offsets = lengths.document_offsets, lengths.sentence_offsets
    own = np.searchsorted(documents, own_sentence, side="right") - 1
    draw_keys = rng.fold(keys, Purpose.RANDOM_DOCUMENT)
    other = rng.integers(draw_keys, 0, len(documents) - 2)
    other += other >= own
    first = documents[other] + rng.integers(draw_keys, 1, documents[other + 1] - documents[other])
    last = np.searchsorted(offsets, offsets[first] + wanted, side="left")
    last = np.clip(last, first + 1, documents[other + 1])
    return offsets[first], offsets[last]


def truncate(start: Offsets, stop: Offsets, longest: int, keys: rng.Keys) -> None:
    """Shorten pairs to `longest` tokens in place, token by token from the longer segment, at a random end each time.

    The loop of google-research/bert (`truncate_seq_pair`) in closed form: the longer segment loses its surplus first,
    then both lose in turn, the second one first; of a segment's losses Binomial(losses, 1/2) fall on its front.
    """
    surplus = (stop - start).sum(axis=1) - longest
    rows = np.flatnonzero(surplus > 0)
    excess = (stop - start)[rows] @ np.array([1, -1])  # how much longer A is
    level = np.minimum(surplus[rows], np.abs(excess))
    rest = surplus[rows] - level
    losses = np.stack([level * (excess > 0) + rest // 2, level * (excess <= 0) + (rest + 1) // 2], axis=1)
    front = rng.fair_coins(rng.fold(keys[rows, None], Purpose.TRUNCATION, [0, 1]), losses)
    start[rows] += front
    stop[rows] -= losses - front
