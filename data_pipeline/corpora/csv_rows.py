"""CSV and TSV files with a header: one document a row."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.corpora.bad_lines import BadLines
from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import Item
from data_pipeline.corpora.rows import RowReader, check_columns
from data_pipeline.corpora.source_files import FILE_NAMES, plain_name
from data_pipeline.whole_numbers import number_of

LONGEST_FIELD = 1 << 27
"""Letters of a field; more are a quotation mark that is never closed."""


class CsvRows(RowReader):
    """Reader of one column; without `id_key`, a document is identified by the number of its row.

    A quoted field may hold line ends, so a file is one task.

    Args:
        delimiter: Character between fields; None is a tab in files named .tsv or .tab, and a comma in others.
        quoted: Whether a field may be quoted; False takes quotation marks as text.
        **reader: Arguments of every `RowReader`.
    """

    file_names = FILE_NAMES["csv"]

    def __init__(self, delimiter: str | None = None, quoted: bool = True, **reader: Any) -> None:
        super().__init__(**reader)
        if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"'):
            raise ValueError(f"corpus {self.name}: delimiter must be null or one character; got {delimiter!r}")
        self.delimiter = delimiter
        self.quoted = quoted

    def read_part(self, part: Part) -> Iterator[Item]:
        """Yield the documents of a file, one row at a time."""
        return self.with_bad_lines(part, lambda bad: self._documents(part, bad))

    def _documents(self, part: Part, bad: BadLines) -> Iterator[Item]:
        label = self.label(Path(part.name))
        lines = _Lines(self.raw_lines(part))
        rows = self._rows(part, lines)
        header = next(rows, [])
        if not_text := self._not_text(header):
            raise ValueError(f"corpus {self.name}: {part.name} has a header that {not_text}")
        check_columns(self.name, part.name, self.fields.used(header), header)
        for number, row in enumerate(rows):
            if not_text := self._not_text(row):
                bad.add(lines.offset, f"ends a row that {not_text}")
            elif len(row) == len(header):
                yield self.fields.document(dict(zip(header, row, strict=True)), self.name, f"{label}/{number}")
            elif row:
                bad.add(lines.offset, f"ends a row of {number_of(len(row), 'field')}; the first line has {len(header)}")

    def _not_text(self, row: list[str]) -> str | None:
        """Return what is wrong with the fields of a row that is not text of its encoding, None if nothing is."""
        try:
            "".join(row).encode(errors="surrogateescape").decode()
        except UnicodeDecodeError as error:
            return self.not_text(error)
        return None

    def _rows(self, part: Part, lines: Iterator[str]) -> Iterator[list[str]]:
        delimiter = self.delimiter or ("\t" if plain_name(Path(part.name)).lower().endswith((".tsv", ".tab")) else ",")
        csv.field_size_limit(LONGEST_FIELD)
        quoting: Any = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
        try:
            yield from csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        except csv.Error as error:
            raise ValueError(
                f"corpus {self.name}: {part.name} is not CSV: {error}; quoted=false takes quotation marks as text"
            ) from error


class _Lines:
    """Iterator over lines that knows the offset of the last one; bytes that are no UTF-8 are lone surrogates."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self.offset = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        self.offset, line = next(self._lines)
        return line.decode("utf-8" if self.offset else "utf-8-sig", "surrogateescape")
