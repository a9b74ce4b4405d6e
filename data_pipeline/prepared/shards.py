"""Token shards: tar files of blocks of whole documents, about two bytes a token, nothing in them that could run.

000000.documents.npy  sentences of each document
000000.json           identifiers and titles of the documents
000000.sentences.npy  tokens of each sentence
000000.tokens.npy     ids of the block's documents, one after another, without special tokens

webdataset writes them and can read them. Reading here is stricter: exactly these members in this order, and of an
array only its numbers, so that whatever else a file holds is refused by its name and never looked into.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from webdataset.writer import TarWriter

from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.records import TokenizedDocument

BLOCK_TOKENS = 65_536
"""A block closes with the document that fills it."""

_MEMBERS = ("documents.npy", "json", "sentences.npy", "tokens.npy")
_DTYPES = {
    "documents.npy": ("|u1", "<u2", "<u4"),
    "sentences.npy": ("|u1", "<u2", "<u4"),
    "tokens.npy": ("<u2", "<u4"),
}
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\0..\{'descr': '(?P<dtype>[^']+)', 'fortran_order': False, 'shape': \((?P<size>\d+),\), \} *\n",
    re.DOTALL,
)
Offsets = NDArray[np.int64]
Unsigned = NDArray[np.unsignedinteger]


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
    sentence_offsets: Offsets
    document_offsets: Offsets


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


def read_shard(folder: str | Path, entry: ShardEntry, vocab_size: int | None = None) -> TokenShard:
    """Read a shard of a folder on this machine and check it; errors are those of `parse_shard`."""
    path = check_size(folder, entry)
    return parse_shard(path.read_bytes(), str(path), entry, vocab_size)


def check_size(folder: str | Path, entry: ShardEntry) -> Path:
    """Return the path of a shard; ValueError where the file is missing or of another size than the manifest says."""
    path = Path(folder) / entry.name
    if not path.is_file():
        raise ValueError(f"shard {path} is missing")
    size = path.stat().st_size
    if size != entry.bytes:
        raise ValueError(f"shard {path} is truncated or overwritten: {size} bytes, the manifest says {entry.bytes}")
    return path


def parse_shard(content: bytes, where: str, entry: ShardEntry, vocab_size: int | None = None) -> TokenShard:
    """Return what the bytes of a shard hold, checked against the manifest and against themselves.

    Args:
        content: The whole file.
        where: Its path or URL, for errors.
        entry: What the manifest says of it.
        vocab_size: Ids from here on are refused; None where it is not known.

    Raises:
        ValueError: naming the shard and what is wrong with it.
    """
    _check_hash(content, where, entry)
    blocks = _read_blocks(io.BytesIO(content), where, tuple(_DTYPES))
    sentences, documents = _join_lengths(blocks, where, entry)
    for number, block in enumerate(blocks):
        if len(block["tokens.npy"]) != (total := int(block["sentences.npy"].sum(dtype=np.int64))):
            raise ValueError(
                f"shard {where} contradicts itself: the sentences of block {number} have {total} tokens, "
                f"the block has {len(block['tokens.npy'])}"
            )
    tokens = np.concatenate([block["tokens.npy"] for block in blocks])
    if vocab_size is not None and (highest := int(tokens.max())) >= vocab_size:
        raise ValueError(f"shard {where} has token id {highest}, the vocabulary has {vocab_size} entries")
    return TokenShard(entry.name, tokens, sentences, documents)


def parse_lengths(file: BinaryIO, where: str, entry: ShardEntry) -> tuple[Offsets, Offsets]:
    """Return the sentence and document offsets of a shard; its tokens, 19 of 20 bytes, are passed over unread.

    The bytes are hashed only where something is wrong, so damage is found here only where it changes a count.

    Raises:
        ValueError: naming the shard and what is wrong with it.
    """
    try:
        return _join_lengths(_read_blocks(file, where, ("sentences.npy", "documents.npy")), where, entry)
    except ValueError:
        file.seek(0)
        _check_hash(file.read(), where, entry)
        raise


def _check_hash(content: bytes, where: str, entry: ShardEntry) -> None:
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ValueError(f"shard {where} was altered: its sha256 is not the one in the manifest")


def _read_blocks(file: BinaryIO, where: str, wanted: Sequence[str]) -> list[dict[str, Unsigned]]:
    """Return the wanted arrays of every block, by the name of the member."""
    blocks: list[dict[str, Unsigned]] = []
    number = -1
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for number, member in enumerate(tar):
                block, kind = divmod(number, len(_MEMBERS))
                expected = f"{block:06d}.{_MEMBERS[kind]}"
                if member.name != expected or member.type != tarfile.REGTYPE or member.sparse:
                    raise ValueError(f"holds {_describe(member)} where the file {expected} belongs")
                if kind == 0:
                    blocks.append({})
                if _MEMBERS[kind] in wanted:
                    file.seek(member.offset_data)
                    content = file.read(member.size)
                    blocks[-1][_MEMBERS[kind]] = _parse_array(content, expected, _DTYPES[_MEMBERS[kind]])
    except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:  # the last two: a length without end
        raise ValueError(f"shard {where} {error}") from None
    if (number + 1) % len(_MEMBERS):
        raise ValueError(f"shard {where} ends inside block {number // len(_MEMBERS)}: {number + 1} members")
    return blocks


def _describe(member: tarfile.TarInfo) -> str:
    kinds = {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link", tarfile.DIRTYPE: "folder"}
    kind = kinds.get(member.type, "file" if member.type == tarfile.REGTYPE and not member.sparse else "special file")
    return f"the {kind} {member.name!r}"


def _parse_array(content: bytes, name: str, dtypes: Sequence[str]) -> Unsigned:
    """Return the numbers of an .npy file of one dimension, without a copy.

    numpy's own loader would also open archives and pickles, and evaluates the header.
    """
    header = _NPY_HEADER.match(content)
    if header is None:
        raise ValueError(f"holds {name} that is not an .npy file of a row of numbers")
    dtype, size = header["dtype"].decode("ascii", "replace"), int(header["size"])
    if dtype not in dtypes:
        raise ValueError(f"holds {name} of dtype {dtype}, not {' or '.join(dtypes)}")
    found, needed = len(content) - header.end(), size * np.dtype(dtype).itemsize
    if found != needed:
        raise ValueError(f"holds {name} with {found} bytes of numbers, its header says {needed}")
    return np.frombuffer(content, dtype, offset=header.end())


def _join_lengths(blocks: list[dict[str, Unsigned]], where: str, entry: ShardEntry) -> tuple[Offsets, Offsets]:
    """Return the offsets of sentences and documents over all blocks, if they agree with the manifest."""
    if len(blocks) != entry.blocks or not blocks:
        raise ValueError(f"shard {where} has {len(blocks)} blocks, the manifest says {entry.blocks}")
    for number, block in enumerate(blocks):
        sentences, documents = block["sentences.npy"], block["documents.npy"]
        if not (sentences.all() and documents.all() and len(documents)):
            raise ValueError(f"shard {where} has an empty sentence or document in block {number}")
        if len(sentences) != (total := int(documents.sum(dtype=np.int64))):
            raise ValueError(
                f"shard {where} contradicts itself: the documents of block {number} have {total} sentences, "
                f"the block has {len(sentences)}"
            )
    sentence_offsets = _offsets([block["sentences.npy"] for block in blocks])
    document_offsets = _offsets([block["documents.npy"] for block in blocks])
    found = {
        "documents": len(document_offsets) - 1,
        "sentences": len(sentence_offsets) - 1,
        "tokens": int(sentence_offsets[-1]),
    }
    for name, count in found.items():
        if count != getattr(entry, name):
            raise ValueError(f"shard {where} has {count} {name}, the manifest says {getattr(entry, name)}")
    return sentence_offsets, document_offsets


def _offsets(lengths: list[Unsigned]) -> Offsets:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(lengths), dtype=np.int64)])
