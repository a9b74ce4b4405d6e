"""A hash of the content of every document of a shard, in a small file beside it, by which copies are recognized.

`<shard>.hashes` is one .npy file: 64 bits a document. Two documents with the same token ids in the same order have the
same hash, wherever their sentences end.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from data_pipeline.prepared.npy import npy
from data_pipeline.records import TokenizedDocument


def document_hash(document: TokenizedDocument) -> int:
    """Return the BLAKE2b hash of 8 bytes of a document's token ids, written as little-endian uint32.

    >>> first = document_hash(TokenizedDocument("a", [[1, 2], [3]], "A title"))
    >>> first == document_hash(TokenizedDocument("b", [[1], [2, 3]])) != document_hash(TokenizedDocument("c", [[1, 2]]))
    True
    """
    ids = np.fromiter((token for sentence in document.sentences for token in sentence), dtype="<u4")
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8).digest(), "little")


def encode_hashes(documents: Sequence[TokenizedDocument]) -> bytes:
    """Return the content of the hashes file of a shard of these documents."""
    return npy(np.array([document_hash(document) for document in documents], dtype="<u8"))
