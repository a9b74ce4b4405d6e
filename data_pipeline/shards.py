"""Token shards: tar files of blocks of whole documents, about two bytes a token, nothing in them that could run.

000000.tokens.npy     ids of the block's documents, one after another, without special tokens
000000.sentences.npy  tokens of each sentence
000000.documents.npy  sentences of each document
000000.json           identifiers and titles of the documents
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from webdataset.tariterators import group_by_keys, tar_file_expander
from webdataset.writer import TarWriter

from data_pipeline.manifest import ShardEntry
from data_pipeline.records import TokenizedDocument

BLOCK_TOKENS = 65_536
"""A block closes with the document that fills it."""

_ARRAYS = ("tokens", "sentences", "documents")


@dataclass(frozen=True, slots=True)
class TokenShard:
    """A shard in memory.

    Attributes:
        name: Its path inside the prepared folder.
        tokens: All token ids, (tokens,).
        sentence_offsets: Token at which each sentence begins, and the end, (sentences + 1,).
        document_offsets: Sentence at which each document begins, and the end, (documents + 1,).
    """

    name: str
    tokens: NDArray[np.uint16] | NDArray[np.uint32]
    sentence_offsets: NDArray[np.int64]
    document_offsets: NDArray[np.int64]


def write_shard(folder: Path, name: str, documents: Sequence[TokenizedDocument], vocab_size: int) -> ShardEntry:
    """Write documents as one tar file whose bytes depend on nothing but them.

    Args:
        folder: The prepared folder, or the one it is put together in.
        name: Path of the shard inside it.
        documents: At least one; each has a sentence and no sentence is empty.
        vocab_size: Up to 65,536 ids are stored in two bytes each, more in four.

    Returns:
        What the manifest says of the shard.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.uint16 if vocab_size <= 1 << 16 else np.uint32
    blocks = list(_blocks(documents))
    with TarWriter(str(path), encoder=False, mtime=0) as writer:
        for number, block in enumerate(blocks):
            writer.write({"__key__": f"{number:06d}", **_encode(block, dtype)})
    content = path.read_bytes()
    sentences = [sentence for document in documents for sentence in document.sentences]
    return ShardEntry(
        name=name,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        blocks=len(blocks),
        documents=len(documents),
        sentences=len(sentences),
        tokens=sum(map(len, sentences)),
    )


def _blocks(documents: Iterable[TokenizedDocument]) -> Iterator[list[TokenizedDocument]]:
    block: list[TokenizedDocument] = []
    tokens = 0
    for document in documents:
        block.append(document)
        tokens += sum(map(len, document.sentences))
        if tokens >= BLOCK_TOKENS:
            yield block
            block, tokens = [], 0
    if block:
        yield block


def _encode(block: list[TokenizedDocument], dtype: type[np.unsignedinteger]) -> dict[str, bytes]:
    sentences = [sentence for document in block for sentence in document.sentences]
    lengths = np.array([len(sentence) for sentence in sentences], dtype=np.uint32)
    counts = np.array([len(document.sentences) for document in block], dtype=np.uint32)
    about = {"identifiers": [d.identifier for d in block], "titles": [d.title for d in block]}
    return {
        "tokens.npy": _npy(np.array([token for sentence in sentences for token in sentence], dtype=dtype)),
        "sentences.npy": _npy(_smallest(lengths)),
        "documents.npy": _npy(_smallest(counts)),
        "json": json.dumps(about, ensure_ascii=False).encode(),
    }


def _smallest(values: NDArray[np.uint32]) -> NDArray[np.unsignedinteger]:
    return values.astype(np.min_scalar_type(int(values.max())))


def _npy(array: NDArray[np.unsignedinteger]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_shard(folder: str | Path, entry: ShardEntry) -> TokenShard:
    """Read a shard and check it against the manifest.

    Raises:
        ValueError: naming the shard, where it is missing, truncated, altered, or is not what the manifest counted.
    """
    path = check_size(folder, entry)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ValueError(f"shard {path} was altered: its sha256 is not the one in the manifest")
    parts = [[_parse(block[f"{name}.npy"]) for name in _ARRAYS] for block in _read_blocks(path, content)]
    if len(parts) != entry.blocks:
        raise ValueError(f"shard {path} has {len(parts)} blocks, the manifest says {entry.blocks}")
    tokens, sentences, documents = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    shard = TokenShard(entry.name, tokens, _offsets(sentences), _offsets(documents))
    _check_counts(path, shard, entry)
    return shard


def check_size(folder: str | Path, entry: ShardEntry) -> Path:
    """Return the path of a shard; ValueError where the file is missing or of another size than the manifest says."""
    path = Path(folder) / entry.name
    if not path.is_file():
        raise ValueError(f"shard {path} is missing")
    size = path.stat().st_size
    if size != entry.bytes:
        raise ValueError(f"shard {path} is truncated or overwritten: {size} bytes, the manifest says {entry.bytes}")
    return path


def _read_blocks(path: Path, content: bytes) -> Iterator[dict[str, bytes]]:
    source = [{"url": str(path), "stream": io.BytesIO(content)}]
    yield from group_by_keys(tar_file_expander(source))


def _parse(content: bytes) -> NDArray[np.unsignedinteger]:
    return np.load(io.BytesIO(content), allow_pickle=False)


def _offsets(lengths: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _check_counts(path: Path, shard: TokenShard, entry: ShardEntry) -> None:
    found = {
        "tokens": len(shard.tokens),
        "sentences": len(shard.sentence_offsets) - 1,
        "documents": len(shard.document_offsets) - 1,
    }
    for name, number in found.items():
        if number != getattr(entry, name):
            raise ValueError(f"shard {path} has {number} {name}, the manifest says {getattr(entry, name)}")
    if shard.sentence_offsets[-1] != len(shard.tokens) or shard.document_offsets[-1] != found["sentences"]:
        raise ValueError(f"shard {path} contradicts itself: its lengths do not add up to its tokens")
