"""Training examples as positions in the token stream: planned chunks of sentences, then exact spans of tokens.

A shard is planned from its sentence lengths and a key, without the other shards. So the number of its examples does not
depend on the order in which shards are read. The random second segment depends on other documents, and the truncation
on the position in the stream; both are drawn afterwards, with the key of the example.
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
class Layout:
    """Offsets of sentences and documents in a run of tokens, and which documents are copies of each other.

    Attributes:
        sentence_offsets: Token offset at which each sentence begins, and the end, (sentences + 1,).
        document_offsets: Sentence index at which each document begins, and the end, (documents + 1,).
        texts: Number of each document that its copies share, such as a hash of its tokens, (documents,).
    """

    sentence_offsets: Offsets
    document_offsets: Offsets
    texts: NDArray[np.uint64]

    @cached_property
    def copies(self) -> Copies:
        """Groups of documents that are copies of each other."""
        return Copies.find(self.texts)


@dataclass(frozen=True, slots=True)
class Chunks:
    """The planned examples of a shard, as sentence indices; every array has shape (examples,).

    Attributes:
        first: First sentence of the chunk.
        split: First sentence of the second segment; equals `last` in formats of one segment.
        last: One past the last sentence of the chunk.
        target: Number of tokens at which the chunk aims.
        is_changed: True for pairs of label 1. Next-sentence formats replace their second segment by one of another
            document; sentence order swaps their segments.
        skipped: Tokens of the first sentence that the chunk before has; None if chunks begin with sentences.
    """

    first: Offsets
    split: Offsets
    last: Offsets
    target: Offsets
    is_changed: NDArray[np.bool_]
    skipped: Offsets | None = None

    def __len__(self) -> int:
        return len(self.first)

    @staticmethod
    def from_rows(rows: Sequence[tuple[int, int, int, int, bool]]) -> "Chunks":
        """Build chunks from rows of (first, split, last, target, is_changed)."""
        first, split, last, target, is_changed = np.array(rows, dtype=np.int64).reshape(-1, 5).T
        return Chunks(first, split, last, target, is_changed.astype(bool))

    def take(self, rows: NDArray[np.int64]) -> "Chunks":
        """Return some of the chunks, in the order given."""
        skipped = None if self.skipped is None else self.skipped[rows]
        sentences = (self.first[rows], self.split[rows], self.last[rows])
        return Chunks(*sentences, self.target[rows], self.is_changed[rows], skipped)

    @staticmethod
    def join(parts: Sequence["Chunks"], bases: Offsets) -> "Chunks":
        """Concatenate the chunks of several shards; shard i holds the sentences from `bases[i]` on, (shards,)."""
        moved = [
            (p.first + base, p.split + base, p.last + base, p.target, p.is_changed)
            for p, base in zip(parts, bases, strict=True)
        ]
        skipped = [p.skipped for p in parts if p.skipped is not None]
        first, split, last, target, is_changed = (np.concatenate(arrays) for arrays in zip(*moved, strict=True))
        return Chunks(first, split, last, target, is_changed, np.concatenate(skipped) if skipped else None)


@dataclass(frozen=True, slots=True)
class Spans:
    """Examples as ranges of the token stream, with a [SEP] after segments.

    Attributes:
        start: First token of each segment, (examples, segments).
        stop: One past the last token of each segment, (examples, segments).
        token_types: Token type of each segment, (examples, segments).
        labels: Pair labels, (examples,): 0 next or in order, 1 random or swapped, `NO_LABEL` without a label.
        separators: Whether a [SEP] follows each segment, (examples, segments); None: each that is not empty.
    """

    start: Offsets
    stop: Offsets
    token_types: Offsets
    labels: NDArray[np.int64]
    separators: NDArray[np.bool_] | None = None

    @staticmethod
    def of_pairs(start: Offsets, stop: Offsets, is_changed: NDArray[np.bool_]) -> "Spans":
        """Return pairs of segments, (examples, 2) each, with label 1 for the changed ones."""
        return Spans(start, stop, np.broadcast_to([0, 1], start.shape), is_changed.astype(np.int64))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example, with its [CLS] and every [SEP], (examples,)."""
        return (self.stop - self.start).sum(axis=1) + self.has_separator.sum(axis=1) + 1

    @property
    def has_separator(self) -> NDArray[np.bool_]:
        """Whether a [SEP] follows each segment, (examples, segments)."""
        return self.stop > self.start if self.separators is None else self.separators

    def __getitem__(self, rows: NDArray[np.int64]) -> "Spans":
        separators = None if self.separators is None else self.separators[rows]
        return Spans(self.start[rows], self.stop[rows], self.token_types[rows], self.labels[rows], separators)

    @staticmethod
    def gather(parts: Sequence[tuple[NDArray[np.int64], "Spans"]], num_examples: int) -> "Spans":
        """Combine spans, each with the rows that they fill; examples of fewer segments get empty segments."""
        num_segments = max((spans.start.shape[1] for _, spans in parts), default=1)
        start, stop, token_types = np.zeros((3, num_examples, num_segments), dtype=np.int64)
        separators = np.zeros(start.shape, dtype=bool)
        labels = np.full(num_examples, NO_LABEL, dtype=np.int64)
        for rows, spans in parts:
            width = spans.start.shape[1]
            start[rows, :width], stop[rows, :width] = spans.start, spans.stop
            token_types[rows, :width], labels[rows] = spans.token_types, spans.labels
            separators[rows, :width] = spans.has_separator
        return Spans(start, stop, token_types, labels, separators)


class PairFormat(Protocol):
    """Format of examples; each class cuts documents in another way.

    Attributes:
        dupe_factor: Number of different cuts of the corpus; successive epochs use them in turn.
        label_names: Meaning of the pair labels 0 and 1; empty if the format has no pair label.
    """

    dupe_factor: int
    target: str | None
    """Name of the pair labels: nsp, sop, or None if there are none."""
    label_names: tuple[str, ...]

    def plan(self, layout: Layout, seq_len: int, key: rng.Keys) -> Chunks:
        """Cut the documents of one shard into chunks of at most about `seq_len` tokens."""

    def spans(self, chunks: Chunks, layout: Layout, seq_len: int, keys: rng.Keys) -> Spans:
        """Turn chunks into token ranges that fit `seq_len`; `keys` holds one key for each example."""

    def describe(self) -> dict[str, object]:
        """Return every setting that decides the examples, for the fingerprint of the stream."""
