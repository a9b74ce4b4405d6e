"""What lies between reading and tokenising: sentences in JSON lines, a file for every task and split, with a report."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

SPLITS = ("train", "validation")
TITLES_LISTED = 20_000
"""Most titles that a report, and the manifest for each source, list; all are in the shards."""


@dataclass(slots=True)
class ExtractionReport:
    """What a task read, kept and left out.

    Attributes:
        counts: Bytes, documents and sentences, and what was dropped, by reason.
        passes: Training documents that are seen at least once, at least twice, ...; more than one entry where the
            weight of the source is above 1.
        held_out: Documents of the validation split.
        titles: Titles of the first documents.
    """

    counts: Counter[str] = field(default_factory=Counter)
    passes: list[int] = field(default_factory=list)
    held_out: int = 0
    titles: list[str] = field(default_factory=list)

    def add(self, title: str, sentences: int, copies: int) -> None:
        """Count a document; `copies` is how often it is trained on, 0 where it is held out."""
        self.counts["documents"] += 1
        self.counts["sentences"] += sentences
        self.held_out += copies == 0
        self.passes += [0] * (copies - len(self.passes))
        for number in range(copies):
            self.passes[number] += 1
        if title and len(self.titles) < TITLES_LISTED:
            self.titles.append(title)


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """A folder of text. Records have `identifier`, `title`, `sentences` and `copies`, how often they are trained on."""

    folder: Path

    def path(self, split: str, number: int) -> Path:
        """Return the file of a task and split."""
        return self.folder / f"{split}-{number:05d}.jsonl"

    def records(self, split: str, number: int) -> Iterator[dict[str, Any]]:
        """Yield the records of a task and split."""
        return read_records(self.path(split, number))

    def save_report(self, number: int, report: ExtractionReport) -> None:
        """Write what a task says of its files."""
        self._report(number).write_text(
            json.dumps({f.name: getattr(report, f.name) for f in fields(report)}, ensure_ascii=False), encoding="utf-8"
        )

    def report(self, number: int) -> ExtractionReport:
        """Return what a task says of its files."""
        content = json.loads(self._report(number).read_text(encoding="utf-8"))
        return ExtractionReport(**{**content, "counts": Counter(content["counts"])})

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
