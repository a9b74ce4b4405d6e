"""Runs of full sentences without pair labels: FULL-SENTENCES and DOC-SENTENCES of RoBERTa."""

from bisect import bisect_right

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Spans
from data_pipeline.records import NO_LABEL
from data_pipeline.rng import Purpose

CLS_AND_SEP = 2


class FullSentences:
    """As many successive sentences as fit, across documents (Liu et al., 2019, section 4.2).

    Each document in an example ends with a [SEP], RoBERTa's extra separator; all tokens have type 0. A sentence longer
    than an example gets an example to itself, which holds a random stretch of it, drawn anew in each epoch. No example
    crosses the end of a shard. Nothing about the cuts is random, so every epoch has the same chunks, in another order
    and with other masks.
    """

    dupe_factor = 1
    target: str | None = None
    label_names: tuple[str, ...] = ()
    crosses_documents = True

    def describe(self) -> dict[str, object]:
        """Return every setting that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__}

    def plan(self, layout: Layout, seq_len: int, key: rng.Keys) -> Chunks:
        """Fill examples of `seq_len` tokens with the sentences of one shard, in their order.

        Let d(s) be the document of sentence s. Sentences f to l - 1 need offset(l) - offset(f) tokens, one [SEP] for
        each of the d(l - 1) - d(f) + 1 documents, and a [CLS]. This count grows with l, so a bisection finds the last
        sentence that fits.
        """
        offsets, documents = layout.sentence_offsets, layout.document_offsets
        document = np.repeat(np.arange(len(documents) - 1), np.diff(documents))  # (sentences,)
        begins = (offsets[:-1] + document).tolist()
        ends = (offsets[1:] + document).tolist()
        num_sentences = len(document)
        document_ends = documents[1:][document].tolist()
        limits = [num_sentences] * num_sentences if self.crosses_documents else document_ends
        rows, first = [], 0
        while first < num_sentences:
            last = bisect_right(ends, begins[first] + seq_len - CLS_AND_SEP, first, limits[first])
            last = max(last, first + 1)
            rows.append((first, last, last, seq_len, False))
            first = last
        return Chunks.from_rows(rows)

    def spans(self, chunks: Chunks, layout: Layout, seq_len: int, keys: rng.Keys) -> Spans:
        """Return one segment for each document; a random stretch of a sentence too long for an example."""
        offsets, documents = layout.sentence_offsets, layout.document_offsets
        first_document = np.searchsorted(documents, chunks.first, side="right") - 1
        last_document = np.searchsorted(documents, chunks.last, side="left") - 1
        segment = np.arange(int((last_document - first_document).max(initial=0)) + 1)
        document = np.minimum(first_document[:, None] + segment, last_document[:, None])  # (examples, segments)
        start = offsets[np.maximum(documents[document], chunks.first[:, None])]
        stop = offsets[np.minimum(documents[document + 1], chunks.last[:, None])]
        stop = np.where(first_document[:, None] + segment > last_document[:, None], start, stop)
        surplus = np.maximum(stop[:, 0] - start[:, 0] - (seq_len - CLS_AND_SEP), 0)
        front = rng.integers(rng.fold(keys, Purpose.TRUNCATION), 0, surplus + 1)
        start[:, 0] += front
        stop[:, 0] -= surplus - front
        return Spans(start, stop, np.zeros_like(start), np.full(len(chunks), NO_LABEL, dtype=np.int64))


class DocSentences(FullSentences):
    """As `FullSentences`, but no example crosses the end of a document (Liu et al., 2019, section 4.2).

    Examples at the ends of documents are short. Packing wastes nothing on them, but a step of the same number of
    examples has fewer tokens.
    """

    crosses_documents = False
