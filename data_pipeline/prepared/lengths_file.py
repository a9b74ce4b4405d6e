"""The lengths of the sentences and documents of a shard, in a small file beside it.

`<shard>.lengths` is two .npy files, one after the other: the sentences of each document, then the tokens of each
sentence. With about 2% of the bytes of the shard it is all that counting examples needs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_pipeline.prepared.file_hashes import checked_content
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.npy import LENGTH_DTYPES, Unsigned, npy, parse_npy, parse_npy_before, smallest
from data_pipeline.records import TokenizedDocument

Offsets = NDArray[np.int64]


def encode_lengths(documents: Sequence[TokenizedDocument]) -> bytes:
    """Return the content of the lengths file of a shard of these documents."""
    counts = np.array([len(document.sentences) for document in documents], dtype=np.uint32)
    lengths = np.array([len(s) for document in documents for s in document.sentences], dtype=np.uint32)
    return npy(smallest(counts)) + npy(smallest(lengths))


def parse_lengths_file(content: bytes, where: str, entry: ShardEntry) -> tuple[Offsets, Offsets]:
    """Return sentence and document offsets from a lengths file.

    Args:
        content: The whole file.
        where: Its path or URL, for errors.
        entry: The manifest's entry of the shard.

    Returns:
        Token at which each sentence begins, and the end, (sentences + 1,); sentence at which each document begins, and
        the end, (documents + 1,).

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    content = checked_content(content, where, entry.side_files["lengths"].sha256)
    try:
        documents, rest = parse_npy_before(content, "documents", LENGTH_DTYPES)
        sentences = parse_npy(rest, "sentences", LENGTH_DTYPES)
    except ValueError as error:
        raise ValueError(f"file {where} {error}") from None
    return join_lengths([sentences], [documents], f"file {where}", entry)


def join_lengths(
    sentences: Sequence[Unsigned], documents: Sequence[Unsigned], where: str, entry: ShardEntry
) -> tuple[Offsets, Offsets]:
    """Return sentence and document offsets over all blocks of a shard, checked against the manifest.

    Args:
        sentences: Tokens of each sentence, one array a block.
        documents: Sentences of each document, one array a block.
        where: What is read, for errors.
        entry: The manifest's entry of the shard.

    Returns:
        As for `parse_lengths_file`.
    """
    for number, (lengths, counts) in enumerate(zip(sentences, documents, strict=True)):
        if not (lengths.all() and counts.all() and len(counts)):
            raise ValueError(f"{where} has an empty sentence or document in block {number}")
        if len(lengths) != (total := int(counts.sum(dtype=np.int64))):
            raise ValueError(
                f"{where} contradicts itself: the documents of block {number} have {total} sentences, "
                f"the block has {len(lengths)}"
            )
    sentence_offsets, document_offsets = _offsets(sentences), _offsets(documents)
    counted = {
        "documents": len(document_offsets) - 1,
        "sentences": len(sentence_offsets) - 1,
        "tokens": int(sentence_offsets[-1]),
    }
    for name, count in counted.items():
        if count != getattr(entry, name):
            raise ValueError(f"{where} has {count} {name}, the manifest says {getattr(entry, name)}")
    return sentence_offsets, document_offsets


def _offsets(lengths: Sequence[Unsigned]) -> Offsets:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(lengths), dtype=np.int64)])
