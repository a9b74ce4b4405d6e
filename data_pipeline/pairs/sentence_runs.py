"""Runs of full sentences without a second segment and without a label: RoBERTa's FULL-SENTENCES and DOC-SENTENCES."""

from bisect import bisect_right

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Lengths, Spans
from data_pipeline.records import NO_LABEL
from data_pipeline.rng import Purpose

CLS_AND_SEP = 2


class FullSentences:
    """As many full sentences as fit, one after another, across documents (Liu et al., 2019, section 4.2).

    Every document in an example ends with a [SEP], RoBERTa's extra separator; all tokens have type 0. A sentence
    longer than an example stands alone, and a stretch of it, another one each epoch, is read. Examples end with their
    shard. Cutting takes no chance, so every epoch has the same chunks, in another order and with other masks.
    """

    dupe_factor = 1
    target: str | None = None
    label_names: tuple[str, ...] = ()
    crosses_documents = True

    def describe(self) -> dict[str, object]:
        """Everything that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__}

    def plan(self, lengths: Lengths, seq_len: int, key: rng.Keys) -> Chunks:
        """Fill examples of `seq_len` tokens with the sentences of one shard, in their order.

        Sentences [f, l) of documents d(f) to d(l - 1) need offset(l) - offset(f) tokens, a [SEP] for each document and
        a [CLS]; both ends of that difference grow with the sentence, so a bisection finds the last one that fits.
        """
        offsets, documents = lengths.sentence_offsets, lengths.document_offsets
        owner = np.repeat(np.arange(len(documents) - 1), np.diff(documents))
        begins = (offsets[:-1] + owner).tolist()
        ends = (offsets[1:] + owner).tolist()
        limits = (documents[1:][owner] if not self.crosses_documents else np.full_like(owner, len(owner))).tolist()
        rows, first = [], 0
        while first < len(owner):
            last = bisect_right(ends, begins[first] + seq_len - CLS_AND_SEP, first, limits[first])
            last = max(last, first + 1)
            rows.append((first, last, last, seq_len, False))
            first = last
        return Chunks.from_rows(rows)

    def spans(self, chunks: Chunks, lengths: Lengths, seq_len: int, keys: rng.Keys) -> Spans:
        """Return one segment a document; of a sentence too long for an example a stretch is drawn."""
        offsets, documents = lengths.sentence_offsets, lengths.document_offsets
        first_document = np.searchsorted(documents, chunks.first, side="right") - 1
        last_document = np.searchsorted(documents, chunks.last, side="left") - 1
        number = np.arange(int((last_document - first_document).max(initial=0)) + 1)
        document = np.minimum(first_document[:, None] + number, last_document[:, None])  # (examples, segments)
        start = offsets[np.maximum(documents[document], chunks.first[:, None])]
        stop = offsets[np.minimum(documents[document + 1], chunks.last[:, None])]
        stop = np.where(first_document[:, None] + number > last_document[:, None], start, stop)
        surplus = np.maximum(stop[:, 0] - start[:, 0] - (seq_len - CLS_AND_SEP), 0)
        front = rng.integers(rng.fold(keys, Purpose.TRUNCATION), 0, surplus + 1)
        start[:, 0] += front
        stop[:, 0] -= surplus - front
        return Spans(start, stop, np.zeros_like(start), np.full(len(chunks), NO_LABEL, dtype=np.int64))


class DocSentences(FullSentences):
    """As `FullSentences`, but an example never goes on into the next document (Liu et al., 2019, section 4.2).

    Examples at the ends of documents are short; packing wastes nothing on them, but a step of as many examples has
    fewer tokens.
    """

    crosses_documents = False
