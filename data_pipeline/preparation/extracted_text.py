"""Extracted text: sentences as JSON lines, one file for each task and split, and a report of each task."""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

from data_pipeline.corpora.bad_lines import BadLine

SPLITS = ("train", "validation")
TITLES_LISTED = 20_000
"""Most titles in a report, and of each source in the manifest; the shards hold all titles."""
_NAMES = "surrogateescape"
"""How names of files that are not UTF-8 are written and read again."""


@dataclass(slots=True)
class ExtractionReport:
    """Counts of the text that a task has read, kept and dropped.

    Attributes:
        counts: Numbers of bytes, documents and sentences, and numbers of dropped items by reason.
        passes: Numbers of training documents with at least one copy, at least two copies, and so on; sources of a
            weight above 1 have several entries.
        held_out: Number of documents in the validation split.
        titles: Titles of the first documents.
        removed: Numbers of pieces that cleaning took out of the kept text, by kind.
        bad_lines: Each line or page that could not be read, and what is wrong with it.
        bad_files: What is wrong with each file that could not be read to its end.
    """

    counts: Counter[str] = field(default_factory=Counter)
    passes: list[int] = field(default_factory=list)
    held_out: int = 0
    titles: list[str] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)
    bad_lines: list[BadLine] = field(default_factory=list)
    bad_files: list[str] = field(default_factory=list)

    def without_documents(self) -> "ExtractionReport":
        """Return a report of the same reading to which no document was added yet."""
        return ExtractionReport(Counter({**self.counts, "documents": 0, "sentences": 0}), removed=self.removed)

    def add(self, title: str, sentences: int, copies: int) -> None:
        """Count a document; `copies` is the number of times it is trained on, 0 for a held-out document."""
        self.counts["documents"] += 1
        self.counts["sentences"] += sentences
        self.held_out += copies == 0
        self.passes += [0] * (copies - len(self.passes))
        for copy in range(copies):
            self.passes[copy] += 1
        if title and len(self.titles) < TITLES_LISTED:
            self.titles.append(title)


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """Folder of extracted text; a record has `identifier`, `title`, `sentences` and `copies` (times it is trained on).

    Records of a source with links have `links` too: the shown text and the title of the page of each.

    Attributes:
        folder: The folder.
    """

    folder: Path

    def path(self, split: str, number: int) -> Path:
        """Return the file of a task and split."""
        return self.folder / f"{split}-{number:05d}.jsonl"

    def records(self, split: str, number: int) -> Iterator[dict[str, Any]]:
        """Yield the records of a task and split."""
        return read_records(self.path(split, number))

    def save_report(self, number: int, report: ExtractionReport) -> None:
        """Write the report of a task."""
        content = {f.name: getattr(report, f.name) for f in fields(report)}
        said = json.dumps(content, ensure_ascii=False)
        self._report(number).write_text(said, encoding="utf-8", errors=_NAMES)

    def reports(self, number: int) -> list[ExtractionReport]:
        """Return the reports of so many tasks, without their titles, which could fill the memory."""
        return [replace(self.report(task), titles=[]) for task in range(number)]

    def titles(self, numbers: Iterable[int]) -> Iterator[str]:
        """Yield the titles of tasks, those of one task in memory at a time."""
        for number in numbers:
            yield from self.report(number).titles

    def report(self, number: int) -> ExtractionReport:
        """Return the report of a task."""
        content = json.loads(self._report(number).read_text(encoding="utf-8", errors=_NAMES))
        counters = {name: Counter(content.get(name, {})) for name in ("counts", "removed")}
        bad_lines = [BadLine(*line) for line in content.get("bad_lines", [])]
        return ExtractionReport(**{**content, **counters, "bad_lines": bad_lines})

    def save_redirects(self, number: int, redirects: Mapping[str, str]) -> None:
        """Write the redirects that a task has read: the title of a page, by its other title."""
        self._redirects(number).write_text(json.dumps(redirects, ensure_ascii=False), encoding="utf-8")

    def redirects(self, number: int) -> dict[str, str]:
        """Return the redirects of a task, none if its source has no links."""
        path = self._redirects(number)
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _redirects(self, number: int) -> Path:
        return self.folder / f"redirects-{number:05d}.json"

    def _report(self, number: int) -> Path:
        return self.folder / f"report-{number:05d}.json"


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of extracted text."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def record_line(record: dict[str, Any]) -> str:
    """Return a record as a line of a file of extracted text."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def sample_texts(paths: Sequence[Path], sample_bytes: int) -> list[str]:
    """Return about `sample_bytes` of text: whole documents chosen by their hash, each with all its copies."""
    total = sum(path.stat().st_size for path in paths)
    limit = 2**32 if total <= sample_bytes else int(sample_bytes / total * 2**32)
    return list(chain.from_iterable(_sampled(path, limit) for path in paths))


def _sampled(path: Path, limit: int) -> Iterator[str]:
    with path.open("rb") as lines:
        for line in lines:
            if zlib.crc32(line) < limit:
                record = json.loads(line)
                yield from [" ".join(record["sentences"])] * record["copies"]
