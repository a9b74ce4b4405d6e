"""First half of preparation, file by file: input files -> sentences, in JSON lines, one document each.

What is left out is counted with its reason. Held-out documents go to a file of their own; which documents are held out
depends on nothing but their identifiers.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.corpora.reader import Reader
from data_pipeline.records import Document, Dropped
from data_pipeline.sentences import split_sentences

SPLITS = ("train", "validation")


@dataclass(frozen=True, slots=True)
class InputGroup:
    """Files of one source that are read as one task."""

    reader: Reader
    files: tuple[Path, ...]


def group_files(sources: Sequence[Reader], group_bytes: int) -> list[InputGroup]:
    """Group successive files of each source to at least `group_bytes`; the same for any number of workers."""
    groups = []
    for reader in sources:
        files: list[Path] = []
        size = 0
        for file in reader.files():
            files.append(file)
            size += file.stat().st_size
            if size >= group_bytes:
                groups.append(InputGroup(reader, tuple(files)))
                files, size = [], 0
        if files:
            groups.append(InputGroup(reader, tuple(files)))
    return groups


def is_held_out(identifier: str, validation_fraction: float) -> bool:
    """Tell whether a document goes to the validation split, by the hash of its identifier."""
    digest = hashlib.sha256(identifier.encode()).digest()
    return int.from_bytes(digest[:8], "big") < validation_fraction * 2**64


def extract_group(group: InputGroup, number: int, folder: Path, validation_fraction: float) -> None:
    """Read one group of files and write `<split>-<number>.jsonl` and `counts-<number>.json` into a folder."""
    counts: Counter[str] = Counter(bytes=sum(file.stat().st_size for file in group.files))
    titles: list[str] = []
    paths = {split: folder / f"{split}-{number:05d}.jsonl" for split in SPLITS}
    with (
        paths["train"].open("w", encoding="utf-8") as train,
        paths["validation"].open("w", encoding="utf-8") as held_out,
    ):
        for document in _documents(group, counts):
            sentences = document.paragraphs
            if not document.presplit:
                sentences = split_sentences(document.paragraphs, group.reader.language)
            counts["documents"] += 1
            counts["sentences"] += len(sentences)
            titles.append(document.title)
            file = held_out if is_held_out(document.identifier, validation_fraction) else train
            record = {"identifier": document.identifier, "title": document.title, "sentences": sentences}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    about = {"source": group.reader.name, "counts": counts, "titles": [title for title in titles if title]}
    (folder / f"counts-{number:05d}.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")


def _documents(group: InputGroup, counts: Counter[str]) -> Iterator[Document]:
    for file in group.files:
        for item in group.reader.read(file):
            if isinstance(item, Dropped):
                counts[f"dropped: {item.reason}"] += 1
            else:
                yield item


def read_extracted(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file that `extract_group` wrote."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
