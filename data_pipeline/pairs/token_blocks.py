"""Blocks of an exact length, cut out of the text wherever that is: the examples of GPT-2."""

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Offsets, Spans
from data_pipeline.records import NO_LABEL


class TokenBlocks:
    """The documents of a shard one after another, a [SEP] after each, cut every `seq_len` - 1 tokens.

    Each block has a [CLS] before it and `seq_len` tokens with it; a cut adds no [SEP] (Radford et al., 2019, section
    2.3, whose end-of-text token ends documents). The last block of a shard is as long as what is left, because no
    example crosses the end of a shard; it is left out if that is a [SEP] alone. Nothing is random, so every epoch has
    the same blocks, in another order and with other masks.
    """

    dupe_factor = 1
    target: str | None = None
    label_names: tuple[str, ...] = ()

    def describe(self) -> dict[str, object]:
        """Return every setting that decides the examples, for the fingerprint of the stream."""
        return {"format": type(self).__name__}

    def plan(self, layout: Layout, seq_len: int, key: rng.Keys) -> Chunks:
        """Cut one shard.

        The stream has one token more than the text for each document, its [SEP]. A block may begin with a [SEP]: then
        its first sentence is the last one of that document, all of whose tokens the block before has.
        """
        offsets, documents = layout.sentence_offsets, layout.document_offsets
        starts = _document_starts(layout)
        begins = np.arange(0, starts[-1] - 1, seq_len - 1)  # (blocks,), positions in the stream
        final = np.minimum(begins + seq_len - 1, starts[-1]) - 1
        sentences = []
        for positions in (begins, final):
            document = np.searchsorted(starts, positions, side="right") - 1
            sentence = np.searchsorted(offsets, positions - document, side="right") - 1
            sentences.append(np.minimum(sentence, documents[document + 1] - 1))
        first, last = sentences[0], sentences[1] + 1
        skipped = begins - (np.searchsorted(starts, begins, side="right") - 1) - offsets[first]
        return Chunks(first, last, last, np.full_like(first, seq_len), np.zeros(len(first), dtype=bool), skipped)

    def spans(self, chunks: Chunks, layout: Layout, seq_len: int, keys: rng.Keys) -> Spans:
        """Return one segment for each document of a block; the last one has a [SEP] only if its document ends there."""
        assert chunks.skipped is not None
        offsets, documents = layout.sentence_offsets, layout.document_offsets
        starts = _document_starts(layout)
        first_document = np.searchsorted(documents, chunks.first, side="right") - 1
        last_document = np.searchsorted(documents, chunks.last, side="left") - 1
        begin = offsets[chunks.first] + chunks.skipped + first_document  # (blocks,), positions in the stream
        segment = np.arange(int((last_document - first_document).max(initial=0)) + 1)
        document = np.minimum(first_document[:, None] + segment, last_document[:, None])  # (blocks, segments)
        low = np.maximum(starts[document], begin[:, None])
        high = np.minimum(starts[document + 1], begin[:, None] + seq_len - 1)
        high = np.where(first_document[:, None] + segment > last_document[:, None], low, high)
        separators = (high > low) & (high == starts[document + 1])
        labels = np.full(len(chunks), NO_LABEL, dtype=np.int64)
        return Spans(low - document, high - document - separators, np.zeros_like(low), labels, separators)


def _document_starts(layout: Layout) -> Offsets:
    """Return the position in the stream at which each document begins, and the end, (documents + 1,)."""
    documents = layout.document_offsets
    return layout.sentence_offsets[documents] + np.arange(len(documents))
