"""Token shards: tar files of blocks of whole documents, about two bytes a token, and nothing in them that could run.

000000.documents.npy  sentences of each document
000000.json           identifiers and titles of the documents
000000.sentences.npy  tokens of each sentence
000000.tokens.npy     ids of the block's documents, one after another, without special tokens

webdataset writes them and can read them. Reading here is stricter: exactly these members in this order, and only the
numbers of an array. Anything else in a file is refused by its name and never parsed.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from webdataset.writer import TarWriter

from data_pipeline.prepared.document_hashes import Hashes, encode_hashes, hashes_of_tokens
from data_pipeline.prepared.lengths_file import Offsets, encode_lengths, join_lengths
from data_pipeline.prepared.manifest import FileEntry, ShardEntry, SideFile, side_name
from data_pipeline.prepared.mentions_file import MENTIONS, encode_mentions
from data_pipeline.prepared.npy import LENGTH_DTYPES, Unsigned, npy, parse_npy, smallest
from data_pipeline.records import TokenizedDocument

BLOCK_TOKENS = 65_536
"""A block closes with the document that fills it."""

_MEMBERS = ("documents.npy", "json", "sentences.npy", "tokens.npy")
_DTYPES = {
    "documents.npy": LENGTH_DTYPES,
    "sentences.npy": LENGTH_DTYPES,
    "tokens.npy": ("<u2", "<u4"),
}


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

    @property
    def document_hashes(self) -> Hashes:
        """Hash of the tokens of each document, (documents,); computed at every call."""
        return hashes_of_tokens(self.tokens, self.sentence_offsets[self.document_offsets])


def write_shard(folder: Path, name: str, documents: Sequence[TokenizedDocument], vocab_size: int) -> ShardEntry:
    """Write documents as one tar file, and its side files, whose bytes depend on nothing but the documents.

    Args:
        folder: The prepared folder, or the one it is put together in.
        name: Path of the shard inside it.
        documents: At least one; each has a sentence and no sentence is empty.
        vocab_size: Up to 65,536 ids are stored in two bytes each, more in four.

    Returns:
        The manifest's entry of the shard.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.uint16 if vocab_size <= 1 << 16 else np.uint32
    blocks = list(_blocks(documents))
    # A path would be read as an address, in which a colon ends the protocol.
    with path.open("wb") as file, TarWriter(file, encoder=False, mtime=0) as writer:
        for number, block in enumerate(blocks):
            writer.write({"__key__": f"{number:06d}", **_encode(block, dtype)})
    content = path.read_bytes()
    side_contents = {"lengths": encode_lengths(documents), "hashes": encode_hashes(documents)}
    if any(document.mentions for document in documents):
        side_contents[MENTIONS] = encode_mentions(documents)
    for kind, side_content in side_contents.items():
        (folder / side_name(name, kind)).write_bytes(side_content)
    sentences = [sentence for document in documents for sentence in document.sentences]
    return ShardEntry(
        name=name,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        blocks=len(blocks),
        documents=len(documents),
        sentences=len(sentences),
        tokens=sum(map(len, sentences)),
        side_files={kind: SideFile(len(c), hashlib.sha256(c).hexdigest()) for kind, c in side_contents.items()},
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
        "tokens.npy": npy(np.fromiter(chain.from_iterable(sentences), dtype=dtype)),
        "sentences.npy": npy(smallest(lengths)),
        "documents.npy": npy(smallest(counts)),
        "json": json.dumps(about, ensure_ascii=False).encode(),
    }


def check_size(folder: str | Path, entry: FileEntry) -> Path:
    """Return the path of a file; ValueError if it is missing or of another size than the manifest says."""
    path = Path(folder) / entry.name
    noun = "shard" if isinstance(entry, ShardEntry) else "file"
    if not path.is_file():
        raise ValueError(f"{noun} {path} is missing")
    size = path.stat().st_size
    if size != entry.bytes:
        raise ValueError(f"{noun} {path} is truncated or overwritten: {size} bytes, the manifest says {entry.bytes}")
    return path


def parse_shard(content: bytes, where: str, entry: ShardEntry, vocab_size: int | None = None) -> TokenShard:
    """Return what the bytes of a shard hold, checked against the manifest and against themselves.

    Args:
        content: The whole file.
        where: Its path or URL, for errors.
        entry: What the manifest says of it.
        vocab_size: Ids of this size or above are refused; None if the size is not known.

    Raises:
        ValueError: naming the shard and what is wrong with it.
    """
    _check_hash(content, where, entry)
    blocks = _read_blocks(io.BytesIO(content), where, tuple(_DTYPES))
    sentences, documents = _join_blocks(blocks, where, entry)
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
    """Return the sentence and document offsets of a shard; its tokens, 19 of 20 bytes, are not read.

    The bytes are hashed only if something is wrong, so only damage that changes a count is detected.

    Raises:
        ValueError: naming the shard and what is wrong with it.
    """
    try:
        return _join_blocks(_read_blocks(file, where, ("sentences.npy", "documents.npy")), where, entry)
    except ValueError:
        file.seek(0)
        _check_hash(file.read(), where, entry)
        raise


def _join_blocks(blocks: list[dict[str, Unsigned]], where: str, entry: ShardEntry) -> tuple[Offsets, Offsets]:
    if len(blocks) != entry.blocks or not blocks:
        raise ValueError(f"shard {where} has {len(blocks)} blocks, the manifest says {entry.blocks}")
    sentences, documents = ([block[name] for block in blocks] for name in ("sentences.npy", "documents.npy"))
    return join_lengths(sentences, documents, f"shard {where}", entry)


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
                    raise ValueError(f"holds {_describe(member)} instead of the file {expected}")
                if kind == 0:
                    blocks.append({})
                if _MEMBERS[kind] in wanted:
                    file.seek(member.offset_data)
                    content = file.read(member.size)
                    blocks[-1][_MEMBERS[kind]] = parse_npy(content, expected, _DTYPES[_MEMBERS[kind]])
    except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:  # the last two: a length without end
        raise ValueError(f"shard {where} {error}") from None
    if (number + 1) % len(_MEMBERS):
        raise ValueError(f"shard {where} ends inside block {number // len(_MEMBERS)}: {number + 1} members")
    return blocks


def _describe(member: tarfile.TarInfo) -> str:
    kinds = {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link", tarfile.DIRTYPE: "folder"}
    kind = kinds.get(member.type, "file" if member.type == tarfile.REGTYPE and not member.sparse else "special file")
    return f"the {kind} {member.name!r}"
