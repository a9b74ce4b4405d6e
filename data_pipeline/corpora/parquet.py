"""Parquet files with one document a row, as the Hugging Face Hub serves them, read one row group at a time."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow.parquet import ParquetFile

from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.rows import RowReader, check_columns
from data_pipeline.corpora.source_files import FILE_NAMES
from data_pipeline.records import Document, Dropped
from data_pipeline.untrusted.typed_fields import listed

ROWS_AT_A_TIME = 256


class Parquet(RowReader):
    """Reader of one column; without `id_key`, a document is identified by its row number."""

    file_names = FILE_NAMES["parquet"]

    def cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        """Cut a file into ranges of row groups."""
        return cut_at_row_groups(self.name, file, part_bytes)

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a range of row groups."""
        label = self.label(Path(part.name))
        for number, row in read_rows(self.name, part, self.fields.used):
            yield self.fields.document(row, self.name, f"{label}/{number}")


def cut_at_row_groups(source: str, file: Path, part_bytes: int) -> Iterator[Part]:
    """Cut a parquet file into ranges of row groups; `begin` and `end` of a part are row group numbers."""
    with parquet_errors(source, file), ParquetFile(file) as opened:
        sizes = [_compressed_size(opened, number) for number in range(opened.metadata.num_row_groups)]
    begin, size = 0, 0
    for number, here in enumerate(sizes):
        size += here
        if size >= part_bytes or number == len(sizes) - 1:
            yield Part(str(file), size, begin, number + 1)
            begin, size = number + 1, 0


def read_rows(
    source: str, part: Part, used: Callable[[Collection[str]], Mapping[str, str]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a range of row groups with their numbers in the file; memory holds one row group.

    Args:
        source: Name of the source, for error messages.
        part: Range of row groups.
        used: Function that returns the columns to read of those that there are, by the setting that names each; the
            first one holds text.

    Raises:
        ValueError: The file is no whole parquet file, lacks a column to read, or the first column holds no text.
    """
    file = Path(part.name)
    with parquet_errors(source, file), ParquetFile(file, page_checksum_verification=True) as opened:
        columns = used(opened.schema_arrow.names)
        check_columns(source, file, columns, opened.schema_arrow.names)
        _check_text(source, file, opened.schema_arrow, columns)
        number = sum(opened.metadata.row_group(group).num_rows for group in range(part.begin))
        for group in range(part.begin, opened.metadata.num_row_groups if part.end is None else part.end):
            for batch in opened.iter_batches(ROWS_AT_A_TIME, row_groups=[group], columns=[*columns.values()]):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1


@contextmanager
def parquet_errors(source: str, file: Path) -> Iterator[None]:
    """Turn Arrow's errors on a damaged file into a ValueError that names the file."""
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        if not file.is_file():
            raise
        raise ValueError(f"corpus {source}: {file} is not a whole parquet file: {error}") from error


def _check_text(source: str, file: Path, schema: pyarrow.Schema, required: Mapping[str, str]) -> None:
    setting, column = next(iter(required.items()))
    kind = schema.field(column).type
    if pyarrow.types.is_dictionary(kind):  # a column of categories
        kind = kind.value_type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind)):
        said = f"{setting}={column}, but in {file} column {column!r} holds {kind}, not text; it has"
        raise ValueError(f"corpus {source}: {said} {listed(schema.names)}")


def _compressed_size(opened: ParquetFile, number: int) -> int:
    group = opened.metadata.row_group(number)
    return sum(group.column(column).total_compressed_size for column in range(group.num_columns))
