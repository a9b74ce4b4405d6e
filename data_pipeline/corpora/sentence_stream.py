"""BookCorpus as it is distributed: one flat stream of sentences, without a mark between two books.

A document begins if one of these holds:

1. `document_key` is set, and its value changes;
2. `document_key` is not set, the sentence matches `boundary`, and the document so far has `min_sentences`. The front
   matter of a book (title page, copyright, contents) matches several times in a row and must begin one document, not
   ten;
3. the document has `max_sentences`, which bounds the memory.

Large files are cut into parts that tasks read in parallel, so a document also begins at the begin of a part.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.corpora.bad_lines import BadLines
from data_pipeline.corpora.parquet import cut_at_row_groups, read_rows
from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import FileReader, Item
from data_pipeline.corpora.rows import column_name
from data_pipeline.corpora.source_files import FILE_NAMES
from data_pipeline.records import Document, Dropped


class SentenceStream(FileReader):
    """Reader of files with one sentence a row (parquet) or a line (text); a document never spans two files.

    A document is identified by the row number, or the byte offset in a text file, at which it begins.

    Args:
        text_key: Column of the sentence.
        document_key: Column whose value differs between documents; None if there is none.
        boundary: Regular expression; a sentence that it matches anywhere, in any case, may begin a document.
        min_sentences: Fewest sentences of a document before a boundary ends it.
        max_sentences: Most sentences of a document.
        **reader: Arguments of every `FileReader`.
    """

    entry = re.compile(rb"\n")
    file_names = re.compile(r"^[^.]+$|\.(parquet|pq|txt|text)$", re.IGNORECASE)

    def __init__(
        self,
        text_key: str = "text",
        document_key: str | None = None,
        boundary: str | None = None,
        min_sentences: int = 1,
        max_sentences: int = 20_000,
        **reader: Any,
    ) -> None:
        super().__init__(**reader)
        if not 1 <= min_sentences <= max_sentences:
            raise ValueError(
                f"corpus {self.name}: min_sentences={min_sentences} must be from 1 to max_sentences={max_sentences}"
            )
        try:
            re.compile(boundary or "")
        except re.error as error:
            raise ValueError(f"corpus {self.name}: boundary={boundary!r} is no regular expression: {error}") from error
        self.text_key = column_name("corpus.text_key", text_key)
        self.document_key = document_key if document_key is None else column_name("corpus.document_key", document_key)
        self.boundary = boundary
        self.min_sentences = min_sentences
        self.max_sentences = max_sentences

    def cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        """Cut a text file between lines, a parquet file between row groups."""
        if FILE_NAMES["parquet"].search(file.name):
            return cut_at_row_groups(self.name, file, part_bytes)
        return super().cut(file, part_bytes)

    def read_part(self, part: Part) -> Iterator[Item]:
        """Yield the documents of a part in order; empty sentences are left out."""
        if FILE_NAMES["parquet"].search(part.name):
            return self._documents(part, self._rows(part))
        if self.document_key is not None:
            raise ValueError(
                f"corpus {self.name}: document_key={self.document_key}, but {part.name} is no parquet file"
            )
        return self.with_bad_lines(part, lambda bad: self._documents(part, self._lines(part, bad)))

    def _documents(self, part: Part, rows: Iterator[tuple[int, str, Any]]) -> Iterator[Item]:
        label, first = self.label(Path(part.name)), part.begin
        sentences: list[str] = []
        last = None
        for position, sentence, document in rows:
            if sentences and (document != last or self._ends(sentences, sentence)):
                yield Document(f"{self.name}/{label}/{first}", sentences, presplit=True)
                sentences = []
            if not sentences:
                first = position
            sentences.append(sentence)
            last = document
        if sentences:
            yield Document(f"{self.name}/{label}/{first}", sentences, presplit=True)
        else:
            yield Dropped("no sentence")

    def _ends(self, sentences: list[str], following: str) -> bool:
        if len(sentences) >= self.max_sentences:
            return True
        if self.document_key is not None or self.boundary is None or len(sentences) < self.min_sentences:
            return False
        return re.search(self.boundary, following, re.IGNORECASE) is not None

    def _rows(self, part: Part) -> Iterator[tuple[int, str, Any]]:
        """Yield (position, sentence, value of `document_key` or None) for every sentence that is not empty."""
        columns = {"text_key": self.text_key}
        if self.document_key is not None:
            columns["document_key"] = self.document_key
        for number, row in read_rows(self.name, part, lambda present: columns):
            if sentence := " ".join((row[self.text_key] or "").split()):
                yield number, sentence, row[self.document_key] if self.document_key else None

    def _lines(self, part: Part, bad: BadLines) -> Iterator[tuple[int, str, None]]:
        """Yield the same of a text file."""
        for offset, line in self.lines(part, bad):
            if sentence := " ".join(line.split()):
                yield offset, sentence, None
