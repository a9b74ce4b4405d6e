"""A hash of the content of every document of a shard, in a small file beside it, by which copies are recognized.

`<shard>.hashes` is one .npy file: 64 bits a document. Two documents with the same token ids in the same order have the
same hash, wherever their sentences end.
"""

import hashlib
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.prepared.file_hashes import checked_content
from data_pipeline.prepared.manifest import ShardEntry, side_name
from data_pipeline.prepared.npy import Unsigned, npy, parse_npy
from data_pipeline.records import TokenizedDocument

Hashes = NDArray[np.uint64]


def document_hash(document: TokenizedDocument) -> int:
    """Return the BLAKE2b hash of 8 bytes of a document's token ids, written as little-endian uint32.

    >>> first = document_hash(TokenizedDocument("a", [[1, 2], [3]], "A title"))
    >>> first == document_hash(TokenizedDocument("b", [[1], [2, 3]])) != document_hash(TokenizedDocument("c", [[1, 2]]))
    True
    """
    return _hash(np.fromiter(chain.from_iterable(document.sentences), dtype="<u4"))


def hashes_of_tokens(tokens: Unsigned, document_begins: NDArray[np.int64]) -> Hashes:
    """Return the hash of every document of a run of tokens, (documents,).

    Args:
        tokens: Token ids, (tokens,).
        document_begins: Token at which each document begins, and the end, (documents + 1,).
    """
    ranges = pairwise(document_begins.tolist())
    return np.array([_hash(tokens[begin:end].astype("<u4")) for begin, end in ranges], dtype=np.uint64)


def encode_hashes(documents: Sequence[TokenizedDocument]) -> bytes:
    """Return the content of the hashes file of a shard of these documents."""
    return npy(np.array([document_hash(document) for document in documents], dtype="<u8"))


def parse_hashes(content: bytes, where: str, entry: ShardEntry) -> Hashes:
    """Return the hash of every document from a hashes file, (documents,).

    Args:
        content: The whole file.
        where: Its path or URL, for errors.
        entry: The manifest's entry of the shard.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    content = checked_content(content, where, entry.side_files["hashes"].sha256)
    try:
        hashes = parse_npy(content, "hashes", ("<u8",))
    except ValueError as error:
        raise ValueError(f"file {where} {error}") from None
    if len(hashes) != entry.documents:
        raise ValueError(f"file {where} has {len(hashes)} documents, the manifest says {entry.documents}")
    return hashes.astype(np.uint64)


def distinct_hashes(folder: Path, entries: Sequence[ShardEntry]) -> Hashes:
    """Return the different hashes of the documents of shards on this machine, ascending."""
    hashes = [np.zeros(0, dtype=np.uint64)]
    for entry in entries:
        name = side_name(entry.name, "hashes")
        hashes.append(np.unique(parse_hashes((folder / name).read_bytes(), name, entry)))
    return np.unique(np.concatenate(hashes))


def is_among(document: int, hashes: Hashes) -> bool:
    """Return whether a hash is one of ascending hashes.

    >>> is_among(5, np.array([2, 5], dtype=np.uint64)), is_among(9, np.array([2, 5], dtype=np.uint64))
    (True, False)
    """
    found = int(np.searchsorted(hashes, np.uint64(document)))
    return found < len(hashes) and int(hashes[found]) == document


def _hash(ids: NDArray[np.uint32]) -> int:
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8).digest(), "little")
