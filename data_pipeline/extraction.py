"""First half of preparation, file by file: input files -> sentences, in JSON lines, one document each.

What is left out is counted with its reason. Held-out documents go to a file of their own; which documents are held out
depends on nothing but their identifiers.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
    """Read one group of files; write `<split>-<number>.jsonl`, `counts-<number>.json` and `titles-<number>.json`."""
    counts: Counter[str] = Counter(bytes=sum(file.stat().st_size for file in group.files))
    titles: list[str] = []
    with ExitStack() as stack:
        paths = {split: folder / f"{split}-{number:05d}.jsonl" for split in SPLITS}
        files = {split: stack.enter_context(path.open("w", encoding="utf-8")) for split, path in paths.items()}
        for document in _documents(group, counts):
            sentences = document.paragraphs
            if not document.presplit:
                sentences = split_sentences(document.paragraphs, group.reader.language)
            if not sentences:
                counts["dropped: no text"] += 1
                continue
            split = "validation" if is_held_out(document.identifier, validation_fraction) else "train"
            counts["documents"] += 1
            counts[f"documents for {split}"] += 1
            counts["sentences"] += len(sentences)
            if document.title:
                titles.append(document.title)
            record = {"identifier": document.identifier, "title": document.title, "sentences": sentences}
            files[split].write(json.dumps(record, ensure_ascii=False) + "\n")
    (folder / f"counts-{number:05d}.json").write_text(json.dumps(counts))
    (folder / f"titles-{number:05d}.json").write_text(json.dumps(titles, ensure_ascii=False), encoding="utf-8")


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
