"""Training examples as positions in the token stream: planned chunks of sentences, then exact spans of tokens.

Planning a shard needs only its sentence lengths and a key, never the other shards, so the number of examples of a
shard does not depend on the order in which it is read. What depends on other documents (the random second segment) or
on the position in the stream (its choice, the truncation) is drawn afterwards, by the example's own key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.pairs.copies import Copies
from data_pipeline.records import NO_LABEL

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class Lengths:
    """Where sentences and documents begin in a run of tokens.

    Attributes:
        sentence_offsets: Token offset of every sentence and the end, (sentences + 1,).
        document_offsets: Sentence index at which every document begins and the end, (documents + 1,).
    """

    sentence_offsets: Offsets
    document_offsets: Offsets

    @cached_property
    def copies(self) -> Copies:
        """Which of the documents are copies of each other."""
        return Copies.find(self.sentence_offsets, self.document_offsets)


@dataclass(frozen=True, slots=True)
class Chunks:
    """The planned examples of a shard, as sentence indices; every array has shape (examples,).

    Attributes:
        first: First sentence of the chunk.
        split: Sentence at which the second segment begins; `last` in formats of one segment.
        last: One past the last sentence of the chunk.
        target: Number of tokens the chunk aimed at.
        is_changed: True where the second segment is to come from another document, or is to stand first.
    """

    first: Offsets
    split: Offsets
    last: Offsets
    target: Offsets
    is_changed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    @staticmethod
    def from_rows(rows: Sequence[tuple[int, int, int, int, bool]]) -> "Chunks":
        """Make columns of rows (first, split, last, target, is_changed)."""
        first, split, last, target, is_changed = np.array(rows, dtype=np.int64).reshape(-1, 5).T
        return Chunks(first, split, last, target, is_changed.astype(bool))

    def take(self, rows: NDArray[np.int64]) -> "Chunks":
        """Return some of the chunks, in the order given."""
        return Chunks(self.first[rows], self.split[rows], self.last[rows], self.target[rows], self.is_changed[rows])

    @staticmethod
    def join(parts: Sequence["Chunks"], bases: Offsets) -> "Chunks":
        """Concatenate the chunks of several shards whose sentences are numbered from `bases` on, (shards,)."""
        moved = [
            (p.first + base, p.split + base, p.last + base, p.target, p.is_changed)
            for p, base in zip(parts, bases, strict=True)
        ]
        return Chunks(*(np.concatenate(arrays) for arrays in zip(*moved, strict=True)))


@dataclass(frozen=True, slots=True)
class Spans:
    """Examples as ranges of the token stream; a segment is followed by one [SEP], an empty one by none.

    Attributes:
        start: First token of each segment, (examples, segments).
        stop: One past the last token of each segment, (examples, segments).
        token_types: Token type of each segment, (examples, segments).
        labels: 0 next or in order, 1 random or swapped, `NO_LABEL` without a pair label, (examples,).
    """

    start: Offsets
    stop: Offsets
    token_types: Offsets
    labels: NDArray[np.int64]

    @staticmethod
    def of_pairs(start: Offsets, stop: Offsets, is_changed: NDArray[np.bool_]) -> "Spans":
        """Return pairs of segments, (examples, 2) each, labelled with what was done to them."""
        return Spans(start, stop, np.broadcast_to([0, 1], start.shape), is_changed.astype(np.int64))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example with [CLS] and one [SEP] a segment, (examples,)."""
        sizes = self.stop - self.start
        return sizes.sum(axis=1) + (sizes > 0).sum(axis=1) + 1

    def __getitem__(self, rows: NDArray[np.int64]) -> "Spans":
        return Spans(self.start[rows], self.stop[rows], self.token_types[rows], self.labels[rows])

    @staticmethod
    def gather(parts: Sequence[tuple[NDArray[np.int64], "Spans"]], num_examples: int) -> "Spans":
        """Put parts together, each with the rows it is for; examples of fewer segments get empty ones."""
        num_segments = max((spans.start.shape[1] for _, spans in parts), default=1)
        start, stop, token_types = np.zeros((3, num_examples, num_segments), dtype=np.int64)
        labels = np.full(num_examples, NO_LABEL, dtype=np.int64)
        for rows, spans in parts:
            width = spans.start.shape[1]
            start[rows, :width], stop[rows, :width] = spans.start, spans.stop
            token_types[rows, :width], labels[rows] = spans.token_types, spans.labels
        return Spans(start, stop, token_types, labels)


class PairFormat(Protocol):
    """How a document becomes examples; one class a format, chosen by the `pairs` config group."""

    dupe_factor: int
    target: str | None
    """Name of the pair labels: nsp, sop, or None if there are none."""
    label_names: tuple[str, ...]
    """What labels 0 and 1 of a pair mean; nothing where there is no pair label."""

    def plan(self, lengths: Lengths, seq_len: int, key: rng.Keys) -> Chunks:
        """Cut the documents of one shard into chunks of at most about `seq_len` tokens."""

    def spans(self, chunks: Chunks, lengths: Lengths, seq_len: int, keys: rng.Keys) -> Spans:
        """Turn chunks into token ranges that fit `seq_len`; `keys` holds one key an example."""

    def describe(self) -> dict[str, object]:
        """Everything that decides the examples, for the fingerprint of the stream."""
