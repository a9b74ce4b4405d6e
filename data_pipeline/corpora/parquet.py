"""Parquet files of documents, one a row, as the Hugging Face Hub serves them; read one row group at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow.parquet import ParquetFile

from data_pipeline.corpora.reader import FileReader, Part
from data_pipeline.corpora.rows import RowFields
from data_pipeline.records import Document, Dropped

ROWS_AT_A_TIME = 256


class Parquet(FileReader):
    """Documents out of one column.

    Args:
        text_key: The column that holds the text.
        title_key: The column that holds a title, where there is one.
        id_key: The column that tells documents apart; None: the number of the row does.
        prose_only: Drop headings and list entries, as for every text of Wikipedia.
        **reader: As for every `FileReader`.
    """

    def __init__(
        self,
        text_key: str = "text",
        title_key: str = "title",
        id_key: str | None = None,
        prose_only: bool = False,
        **reader: Any,
    ) -> None:
        super().__init__(**reader)
        self.fields = RowFields(text_key, title_key, id_key, prose_only)

    def parts(self, part_bytes: int) -> list[Part]:
        """Return ranges of row groups, each of `part_bytes` or little more."""
        return [part for file in self.files() for part in self._cut(file, part_bytes)]

    def _cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        with parquet_errors(self.name, file), ParquetFile(file) as opened:
            sizes = [_compressed_size(opened, number) for number in range(opened.metadata.num_row_groups)]
        begin, size = 0, 0
        for number, here in enumerate(sizes):
            size += here
            if size >= part_bytes or number == len(sizes) - 1:
                yield Part(str(file), size, begin, number + 1)
                begin, size = number + 1, 0

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a range of row groups."""
        file = Path(part.name)
        for number, row in read_rows(self.name, file, self.fields.required(), [self.fields.title], part):
            yield self.fields.document(row, self.name, f"{self.label(file)}/{number}")

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield the documents of a file."""
        return self.read_part(Part(str(file), 0))


def read_rows(
    source: str, file: Path, required: Sequence[str], optional: Sequence[str] = (), part: Part | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a parquet file with their numbers; memory holds one row group.

    Args:
        source: Name of the source, for errors.
        file: The file.
        required: Columns to read; the first holds text.
        optional: Columns to read where they are there.
        part: A range of row groups; None for all.

    Raises:
        ValueError: naming the file, where it is no whole parquet file, lacks a column, or the first holds no text.
    """
    with parquet_errors(source, file), ParquetFile(file, page_checksum_verification=True) as opened:
        _check_columns(source, file, opened.schema_arrow, required)
        columns = [*required, *(name for name in optional if name in opened.schema_arrow.names)]
        first, last = (part.begin, part.end) if part else (0, None)
        last = opened.metadata.num_row_groups if last is None else last
        number = sum(opened.metadata.row_group(group).num_rows for group in range(first))
        for group in range(first, last):
            for batch in opened.iter_batches(ROWS_AT_A_TIME, row_groups=[group], columns=columns):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1


@contextmanager
def parquet_errors(source: str, file: Path) -> Iterator[None]:
    """Name the file in what Arrow says of a file that is damaged or no parquet file."""
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        if not file.is_file():
            raise
        raise ValueError(f"corpus {source}: {file} is not a whole parquet file: {error}") from error


def _check_columns(source: str, file: Path, schema: pyarrow.Schema, required: Sequence[str]) -> None:
    if missing := [name for name in required if name not in schema.names]:
        raise ValueError(
            f"corpus {source}: {file} has no column {', '.join(map(repr, missing))}; it has {', '.join(schema.names)}"
        )
    kind = schema.field(required[0]).type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind)):
        raise ValueError(f"corpus {source}: {file}: column {required[0]!r} holds {kind}, not text")


def _compressed_size(opened: ParquetFile, number: int) -> int:
    group = opened.metadata.row_group(number)
    return sum(group.column(column).total_compressed_size for column in range(group.num_columns))
