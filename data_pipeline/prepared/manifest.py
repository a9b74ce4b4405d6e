"""What a prepared folder holds: shards with their counts and hashes, the tokenizer, sources and licences."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.plain_files import has_file, read_plain
from data_pipeline.untrusted.typed_fields import build, shown, whole_number, without_unknown

FORMAT_VERSION = 3
READ_VERSIONS = (2, 3)
"""Version 3 added side files of shards and figures of the corpus's health, all optional.

Keys that this program does not know are ignored. A change that an older program must not ignore needs a new version."""
FILE_NAME = "manifest.json"
LARGEST_MANIFEST = 1 << 28
"""Bytes; a shard takes about 530, so half a million shards have room."""
_SHA256 = re.compile("[0-9a-f]{64}")
LARGEST_VOCABULARY = 1 << 24
LARGEST_SHARD = 1 << 34
"""Bytes; a shard is read into memory as a whole."""
LARGEST_ENTITIES = 1 << 31
LARGEST_ENTITY_SIZE = 1 << 14
_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_SIDE_KIND = re.compile(r"[a-z][a-z0-9_]*")


class DamagedManifestError(ValueError):
    """The content is not the one that was written."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the prepared folder: its path inside, its size and its hash."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SideFile:
    """Size and hash of a file beside a shard."""

    bytes: int
    sha256: str


def side_name(shard: str, kind: str) -> str:
    """Return the path of a file beside a shard.

    >>> side_name("train/part-00000-00000.tar", "lengths")
    'train/part-00000-00000.tar.lengths'
    """
    return f"{shard}.{kind}"


@dataclass(frozen=True, slots=True)
class ShardEntry(FileEntry):
    """One shard, and what it holds.

    Attributes:
        blocks: Blocks of whole documents.
        documents: Documents.
        sentences: Sentences.
        tokens: Tokens.
        source: Name of the source that the text is from; "" for several.
        side_files: Optional files beside the shard, by kind: "lengths" (`lengths_file`), "hashes" (`document_hashes`),
            "mentions" (`mentions_file`). Other kinds are ignored.
    """

    blocks: int
    documents: int
    sentences: int
    tokens: int
    source: str = ""
    side_files: dict[str, SideFile] = field(default_factory=dict)

    def side_file(self, kind: str) -> FileEntry | None:
        """Return the file of a kind beside the shard, None if there is none."""
        about = self.side_files.get(kind)
        return None if about is None else FileEntry(side_name(self.name, kind), about.bytes, about.sha256)


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """Where text came from, for attribution; `dropped` counts what was left out, by reason."""

    name: str
    licence: str
    origin: str
    documents: int
    titles: list[str] = field(default_factory=list)
    weight: float = 1.0
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnowledgeEntry:
    """What the links of a corpus say about entities, which are pages (`data_pipeline.knowledge`).

    Attributes:
        num_entities: Entities that mentions may name.
        num_pages: Other pages of the link graph.
        entity_size: Numbers of the vector of an entity.
        files: Files of titles, other pages, links and vectors, by kind.
    """

    num_entities: int
    num_pages: int
    entity_size: int
    files: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The table of contents of a prepared folder; written last, so its presence says that the folder is whole.

    Attributes:
        tokenizer_sha256: Hash of the tokenizer.
        vocab_size: Entries of its vocabulary.
        settings: Settings of the preparation.
        sources: Where the text came from.
        splits: The shards of each split, in order.
        health: Figures about the corpus by name; empty if none were computed.
        knowledge: Entities and their links; None if the links of the corpus were not read.
        format_version: Version of the format, one of `READ_VERSIONS`.
    """

    tokenizer_sha256: str
    vocab_size: int
    settings: dict[str, object]
    sources: list[SourceEntry]
    splits: dict[str, list[ShardEntry]]
    health: dict[str, object] = field(default_factory=dict)
    knowledge: KnowledgeEntry | None = None
    format_version: int = FORMAT_VERSION

    @classmethod
    def load(cls, folder: str | Path) -> "Manifest":
        """Read the manifest of a folder on this machine; the errors are those of `parse`."""
        folder = Path(folder)
        if not has_file(folder, FILE_NAME):
            raise ValueError(f"{folder} is not a folder prepared by bert-prepare: it has no {FILE_NAME}")
        return cls.parse(read_plain(folder, FILE_NAME, LARGEST_MANIFEST), str(folder / FILE_NAME))

    @classmethod
    def parse(cls, text: bytes, where: str) -> "Manifest":
        """Return the manifest that a file holds.

        Args:
            text: The whole file.
            where: Its path or URL, for errors.

        Raises:
            DamagedManifestError: if the file is no manifest, or was changed after it was written.
            ValueError: if this program does not read its version, or its entries are not sound.
        """
        try:
            content = parse_object(text, "it")
        except ValueError as error:
            raise DamagedManifestError(f"{where} is damaged: {error}") from error
        try:
            version = content.pop("format_version")
            if version not in READ_VERSIONS:
                raise ValueError(
                    f"{where} has format_version {shown(version)}, this version of bert-lightning reads "
                    f"{' and '.join(map(str, READ_VERSIONS))}; prepare the data again"
                )
            if content.pop("sha256") != _checksum(content):
                raise DamagedManifestError(
                    f"{where} was edited or damaged after it was written: its sha256 does not match"
                )
            manifest = build(cls, without_unknown(cls, content) | {"format_version": version}, where)
        except KeyError as error:
            raise DamagedManifestError(f"{where} is damaged: it lacks {error}") from error
        _check_values(manifest, where)
        _check_knowledge(manifest.knowledge, where)
        _check_entries([entry for entries in manifest.splits.values() for entry in entries], where)
        return manifest

    def save(self, folder: str | Path) -> None:
        """Write the manifest atomically, with the hash of its own content; ValueError if it is too long to be read."""
        content = asdict(self)
        version = content.pop("format_version")
        if self.knowledge is None:
            del content["knowledge"]
        path = Path(folder) / FILE_NAME
        whole = {"format_version": version, "sha256": _checksum(content), **content}
        text = json.dumps(whole, indent=1, ensure_ascii=False).encode()
        if len(text) > LARGEST_MANIFEST:
            raise ValueError(
                f"{path} would have {len(text)} bytes for {sum(map(len, self.splits.values()))} shards, and the most "
                f"that is read is {LARGEST_MANIFEST}; a larger shard_tokens makes fewer shards"
            )
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @property
    def num_entities(self) -> int:
        """Number of entities that mentions may name."""
        return 0 if self.knowledge is None else self.knowledge.num_entities

    @property
    def content_sha256(self) -> str:
        """Hash of everything that decides the token stream: the tokenizer and every shard, in order."""
        shards = {name: [entry.sha256 for entry in entries] for name, entries in sorted(self.splits.items())}
        return hashlib.sha256(json.dumps([self.tokenizer_sha256, shards]).encode()).hexdigest()

    def without(self, names: Collection[str]) -> "Manifest":
        """Return the manifest without some shards; ValueError if it has no shard of a name."""
        known = {entry.name for entries in self.splits.values() for entry in entries}
        if unknown := sorted(set(names) - known):
            raise ValueError(f"data.exclude_shards names shards that the manifest does not have: {', '.join(unknown)}")
        left = {split: [e for e in entries if e.name not in names] for split, entries in self.splits.items()}
        return replace(self, splits=left)

    def totals(self, split: str) -> Mapping[str, int]:
        """Return documents, sentences, tokens and bytes of a split."""
        entries = self.splits[split]
        return {
            name: sum(getattr(entry, name) for entry in entries)
            for name in ("documents", "sentences", "tokens", "bytes")
        }


def _checksum(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_values(manifest: Manifest, where: str) -> None:
    """Check what the types do not say: the size of the vocabulary, and hashes, which name files in a cache."""
    whole_number(manifest.vocab_size, where, "vocab_size", 1, LARGEST_VOCABULARY)
    hashes = {entry.name: entry.sha256 for entries in manifest.splits.values() for entry in entries}
    for name, value in {"tokenizer": manifest.tokenizer_sha256, **hashes}.items():
        if not _SHA256.fullmatch(value):
            raise ValueError(
                f"{where} gives {shown(name)} the sha256 {shown(value)}, which must be 64 digits from 0 to f"
            )


def _check_knowledge(knowledge: KnowledgeEntry | None, where: str) -> None:
    """Check that sizes are possible, and that files lie inside the folder."""
    if knowledge is None:
        return
    for name, least, most in (
        ("num_entities", 1, LARGEST_ENTITIES),
        ("num_pages", 0, LARGEST_ENTITIES),
        ("entity_size", 1, LARGEST_ENTITY_SIZE),
    ):
        whole_number(getattr(knowledge, name), where, f"knowledge.{name}", least, most)
    for kind, file in knowledge.files.items():
        whole_number(file.bytes, where, f"knowledge.files.{kind}.bytes", 0, LARGEST_SHARD)
        if not _SHARD_NAME.fullmatch(file.name) or not _SHA256.fullmatch(file.sha256):
            raise ValueError(
                f"{where} has knowledge.files.{kind} with name={shown(file.name)} and sha256={shown(file.sha256)}, "
                "which must be the path of a file inside the folder and 64 digits from 0 to f"
            )


def _check_entries(entries: Sequence[ShardEntry], where: str) -> None:
    """Check that names stay inside the folder and are plain text to any shell, and that counts are counts."""
    seen: set[str] = set()
    for entry in entries:
        if not _SHARD_NAME.fullmatch(entry.name):
            raise ValueError(
                f"{where} has a shard named {entry.name!r}; a name is letters, digits and ._- with / between folders, "
                "and no part of it begins with . or -"
            )
        if entry.name in seen:
            raise ValueError(f"{where} lists shard {entry.name} twice")
        seen.add(entry.name)
        for name in ("bytes", "blocks", "documents", "sentences", "tokens"):
            value = getattr(entry, name)
            if value < 1:
                raise ValueError(f"{where} says that shard {entry.name} has {value!r} {name}")
        whole_number(entry.bytes, where, f"the bytes of {entry.name}", most=LARGEST_SHARD)
        for kind, about in entry.side_files.items():
            if not _SIDE_KIND.fullmatch(kind) or not 1 <= about.bytes <= LARGEST_SHARD:
                raise ValueError(
                    f"{where} says that shard {entry.name} has a side file {kind!r} of {about.bytes!r} bytes"
                )
