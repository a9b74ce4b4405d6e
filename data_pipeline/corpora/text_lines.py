"""Input format of google-research/bert: one sentence a line, a blank line between documents."""

import io
import logging
import re
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, islice, pairwise
from pathlib import Path
from typing import Any

from data_pipeline.corpora.bad_lines import BadLines
from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import FileReader, Item
from data_pipeline.records import Document

log = logging.getLogger(__name__)
HEAD_LETTERS = 1 << 16
FILES_SEEN = 20
"""Files, at most, by whose first lines a corpus is judged as a whole."""
MOST_SENTENCES = 1_000_000
"""Most lines of a document, which memory holds whole."""
_LEAST_PAIRS = 40
"""Fewest pairs of successive lines by which a file is judged."""
_WIDEST = 160
_LEAST_LINES = 5
_INNER_END = re.compile(
    "[^\\W\\d_]{3}[.!?\u2026][\"'\u2019\u201d)\\]]*\\s+[\"'\u2018\u201c(]?[^\\W\\d_a-z]|[\u3002\uff01\uff1f]\\w"
)
"""The end of a sentence inside of a line, not of an abbreviation such as Mr."""
_END = re.compile(r"[.!?:;\u2026\u3002\uff01\uff1f][\"'\u2019\u201d)\]]*$")


class TextLines(FileReader):
    """Reader of documents with split sentences; a document is identified by the byte offset at which it begins.

    Args:
        name: Name of the source in the manifest.
        path: A file, a folder (all files below it), or a glob pattern.
        licence: License of the text.
        origin: Where the text comes from, in words.
        sentence_per_line: None refuses a file whose lines look like prose wrapped at a width, and warns of lines of
            several sentences; True takes every line as a sentence.
        **reader: Arguments of every `FileReader`.
    """

    entry = re.compile(rb"\n[ \t\r]*\n")
    file_names = re.compile(r"^[^.]+$|\.(txt|text|raw|tokens)$", re.IGNORECASE)

    def __init__(
        self,
        name: str,
        path: str | Path,
        licence: str,
        origin: str,
        sentence_per_line: bool | None = None,
        **reader: Any,
    ) -> None:
        super().__init__(name, path, licence, origin, **reader)
        if sentence_per_line not in (None, True):
            raise ValueError(f"corpus {self.name}: sentence_per_line must be null or true; got {sentence_per_line}")
        self.sentence_per_line = sentence_per_line

    @property
    def decisive(self) -> dict[str, Any]:
        """Settings that decide the documents; the check of the lines decides none."""
        return {name: value for name, value in super().decisive.items() if name != "sentence_per_line"}

    def parts(self, part_bytes: int) -> list[Part]:
        """Return the parts of all files; what looks like paragraphs is a warning."""
        parts = super().parts(part_bytes)
        heads = chain.from_iterable(self._head(file) for file in self.files()[:FILES_SEEN])
        if self.sentence_per_line is None and (share := share_of_paragraphs(list(heads))) > 0.5:
            log.warning(
                "corpus %s: %.0f%% of the text stands in lines of several sentences, and every line is read as one "
                "sentence; corpus=books reads prose, corpus.sentence_per_line=true silences this",
                self.name,
                100 * share,
            )
        return parts

    def cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        """Cut a file between documents; ValueError if it is prose wrapped at a width."""
        if self.sentence_per_line is None and (width := wrapped_at(self._head(file))):
            raise ValueError(
                f"corpus {self.name}: {file} looks like prose wrapped at {width} letters, not like one sentence a "
                "line; corpus=books reads prose, corpus.sentence_per_line=true takes every line as a sentence"
            )
        return super().cut(file, part_bytes)

    def _head(self, file: Path) -> list[str]:
        try:
            with self.opened(Part(str(file), None)) as content:
                text = io.TextIOWrapper(content, encoding="utf-8", errors="replace").read(HEAD_LETTERS)
        except ValueError:
            return []  # a damaged file is reported when it is read
        return text.splitlines()

    def read_part(self, part: Part) -> Iterator[Item]:
        """Yield the documents of a part, one line at a time."""
        return self.with_bad_lines(part, lambda bad: self._documents(part, bad))

    def _documents(self, part: Part, bad: BadLines) -> Iterator[Item]:
        label = self.label(Path(part.name))
        split = ((offset, piece) for offset, line in self.lines(part, bad) for piece in line.splitlines())
        stripped = ((offset, piece.strip()) for offset, piece in split)
        for has_text, block in groupby(stripped, key=lambda line: bool(line[1])):
            if has_text:
                lines = list(islice(block, MOST_SENTENCES + 1))
                first = lines[0][0]
                if len(lines) > MOST_SENTENCES:
                    raise ValueError(
                        f"corpus {self.name}: {part.name} has {MOST_SENTENCES:,} lines without a blank one between "
                        f"them from byte {first:,} on, which would be one document; corpus=bookcorpus reads a file "
                        "without documents, and corpus.max_sentences makes them"
                    )
                yield Document(f"{self.name}/{label}/{first}", [sentence for _, sentence in lines], presplit=True)


def share_of_paragraphs(lines: Sequence[str]) -> float:
    """Return the share of the letters that stand in lines of several sentences, 0 for a few lines.

    >>> share_of_paragraphs(["It rains. Nobody is out.", "Mr. Smith stays."] * 5)
    0.6
    """
    filled = [line for line in map(str.strip, lines) if line]
    several = sum(len(line) for line in filled if _INNER_END.search(line))
    return several / sum(map(len, filled)) if len(filled) >= _LEAST_LINES else 0


def wrapped_at(lines: Sequence[str]) -> int:
    """Return the width at which lines are wrapped, 0 if they are not.

    Wrapped prose mostly goes on in the next line, and the first word of that line would not have fitted.

    >>> wrapped_at(["the rain in Spain stays", "mainly in the plain and"] * 40)
    23
    >>> wrapped_at(["The rain stays in the plain.", "Here it hardly ever rains at all."] * 40)
    0
    """
    stripped = [line.strip() for line in lines]
    pairs = [(line, below) for line, below in pairwise(stripped) if line and below]
    going_on = [(line, below) for line, below in pairs if not _END.search(line) and " " in line]
    if len(pairs) < _LEAST_PAIRS or 2 * len(going_on) < len(pairs):
        return 0
    widths = sorted(len(line) for line, _ in going_on)
    width = widths[len(widths) * 9 // 10]
    full = sum(len(line) + 1 + len(below.split()[0]) > width for line, below in going_on)
    return width if width <= _WIDEST and full > 0.6 * len(going_on) else 0
