"""What a prepared folder holds: shards with their counts and hashes, the tokenizer, sources and licences."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

FORMAT_VERSION = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard; `name` is its path inside the prepared folder, `source` the one its text is from ("": several)."""

    name: str
    bytes: int
    sha256: str
    blocks: int
    documents: int
    sentences: int
    tokens: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """Where text came from: what a reader of the model is owed."""

    name: str
    licence: str
    origin: str
    documents: int
    titles: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The table of contents of a prepared folder; written last, so its presence says that the folder is whole."""

    tokenizer_sha256: str
    vocab_size: int
    settings: dict[str, object]
    sources: list[SourceEntry]
    splits: dict[str, list[ShardEntry]]
    format_version: int = FORMAT_VERSION

    @classmethod
    def load(cls, folder: str | Path) -> "Manifest":
        """Read the manifest of a prepared folder.

        Raises:
            ValueError: where there is none, or it is not one this version reads.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise ValueError(f"{folder} is not a folder prepared by bert-prepare: it has no {FILE_NAME}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("format_version")
            if version != FORMAT_VERSION:
                raise ValueError(
                    f"{path} has format_version {version}, this version of bert-lightning reads {FORMAT_VERSION}"
                )
            sources = [SourceEntry(**entry) for entry in content.pop("sources")]
            splits = {name: [ShardEntry(**entry) for entry in shards] for name, shards in content.pop("splits").items()}
            return cls(sources=sources, splits=splits, **content)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    def save(self, folder: str | Path) -> None:
        """Write the manifest atomically."""
        path = Path(folder) / FILE_NAME
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @property
    def content_sha256(self) -> str:
        """Hash of everything that decides the token stream: the tokenizer and every shard, in order."""
        shards = {name: [entry.sha256 for entry in entries] for name, entries in sorted(self.splits.items())}
        return hashlib.sha256(json.dumps([self.tokenizer_sha256, shards]).encode()).hexdigest()

    def without(self, names: Collection[str]) -> "Manifest":
        """Return the manifest without some shards; ValueError where it has no shard of a name."""
        known = {entry.name for entries in self.splits.values() for entry in entries}
        if unknown := sorted(set(names) - known):
            raise ValueError(f"data.quarantine names shards that the manifest does not have: {', '.join(unknown)}")
        left = {split: [e for e in entries if e.name not in names] for split, entries in self.splits.items()}
        return replace(self, splits=left)

    def totals(self, split: str) -> Mapping[str, int]:
        """Return documents, sentences, tokens and bytes of a split."""
        entries = self.splits[split]
        return {
            name: sum(getattr(entry, name) for entry in entries)
            for name in ("documents", "sentences", "tokens", "bytes")
        }
