"""Rows of TSV, CSV, JSON lines and parquet files, with named columns and the line that each row comes from.

A TSV has no quoting, as the files of GLUE need: a quotation mark is a letter. A CSV has it, so that texts may hold
commas and line ends.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data_pipeline.tasks.task_records import Label, LabeledText
from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.numbered_lines import MAX_LINE_BYTES, numbered_lines
from data_pipeline.untrusted.typed_fields import listed, shown
from data_pipeline.whole_numbers import number_of

ROWS_AT_A_TIME = 256
Fields = list[str]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table; the methods read a column and refuse a value of another kind with the line.

    Attributes:
        values: Values by column.
        where: File and line.
        settings: Settings that name columns, by column; `named_by` makes them. Errors name them.
    """

    values: Mapping[str, Any]
    where: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def value(self, column: str) -> Any:
        """Return the value of a column, of any type; ValueError if the row has no such column."""
        if column not in self.values:
            raise ValueError(f"{self._named(column)} has no column {shown(column)}; it has {self._columns()}")
        return self.values[column]

    def is_empty(self, column: str | None) -> bool:
        """Return whether a column says nothing: empty text, an empty list, or null."""
        value = self.values.get(column) if column is not None else None
        return not value.strip() if isinstance(value, str) else value in ([], None)

    def text(self, column: str) -> str:
        """Return a text."""
        value = self.value(column)
        if not isinstance(value, str):
            raise self.wrong(column, "text")
        return value

    def whole_number(self, column: str) -> int:
        """Return a whole number, written as a number or as text."""
        value = self.value(column)
        if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
            return int(value)
        if type(value) is not int:
            raise self.wrong(column, "a whole number")
        return value

    def number(self, column: str) -> float:
        """Return a finite number, written as a number or as text."""
        value = self.value(column)
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.wrong(column, "a finite number")
        return number

    def class_name(self, column: str) -> str:
        """Return the name of a class: text as it is, a number as it is written."""
        name = class_name(self.value(column))
        if not name:
            raise self.wrong(column, "the name of a class")
        return name

    def class_names(self, column: str) -> tuple[str, ...]:
        """Return the names of all classes that apply, none allowed: a list, or text with commas between the names."""
        value = self.value(column)
        entries = value.split(",") if isinstance(value, str) else value
        if not isinstance(entries, list):
            raise self.wrong(column, "a list of names, or names with commas between them")
        names = tuple(map(class_name, entries)) if entries not in ([], [""]) else ()
        if not all(names):
            raise self.wrong(column, "a list of names, or names with commas between them")
        return names

    def wrong(self, column: str, description: str) -> ValueError:
        """Return the error for a value that is not what a column must hold."""
        said = f"{self._named(column)} has {column}={shown(self.values[column])}, which must be {description}"
        return ValueError(said + (f"; the columns are {self._columns()}" if column in self.settings else ""))

    def _named(self, column: str) -> str:
        """Return where the row is, after the setting that names a column."""
        return f"{self.settings[column]}={column}, but {self.where}" if column in self.settings else self.where

    def _columns(self) -> str:
        return listed(map(str, self.values))


def named_by(group: str = "", **columns: str | None) -> dict[str, str]:
    """Return the settings that name the columns of a table, by column.

    >>> named_by("task.", text="review", text_pair=None, label="stars")
    {'review': 'task.text', 'stars': 'task.label'}

    Args:
        group: What stands before the names of the settings.
        columns: Columns by the name of their setting; None for a setting that names none.
    """
    return {column: f"{group}{name}" for name, column in columns.items() if column is not None}


def read_table(path: Path, settings: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Yield the rows of a file whose ending says its format.

    Args:
        path: The file.
        settings: Settings that name columns, by column.

    Raises:
        ValueError: naming the file and the line at fault; also if there is no row, or the ending is not known.
    """
    if path.suffix not in _FORMATS:
        raise ValueError(f"{path} must end in one of {', '.join(_FORMATS)}")
    is_empty = True
    for row in _FORMATS[path.suffix](path):
        is_empty = False
        yield replace(row, settings=settings or {})
    if is_empty:
        raise ValueError(f"{path} holds no rows")


def read_texts(
    path: Path,
    text: str,
    text_pair: str | None = None,
    label: str | None = None,
    identifier: str | None = None,
    read_label: Callable[[Row, str], Label] = Row.class_name,
    group: str = "task.",
    needs_labels: bool = True,
) -> list[LabeledText]:
    """Return the texts of a table.

    Args:
        path: The file.
        text: Column of the text.
        text_pair: Column of the second text of a pair; None for single texts.
        label: Column of the label; None reads no labels.
        identifier: Column that identifies examples; None counts them from 0.
        read_label: How a label is read: `Row.class_name`, `Row.number` or `Row.class_names`.
        group: What stands before the names of the columns in the settings, for errors.
        needs_labels: Whether every row must have a label; if not, rows without the column have none, and a file whose
            labels are all empty has none.

    Raises:
        ValueError: naming the line of a row that lacks something, or both lines of two rows with one identifier.
    """
    settings = named_by(group, identifier=identifier, label=label, text_pair=text_pair, text=text)
    texts: dict[str, LabeledText] = {}
    has_labels = False
    refused: ValueError | None = None
    for number, row in enumerate(read_table(path, settings)):
        name = str(number) if identifier is None else row.class_name(identifier)
        if name in texts:
            raise ValueError(f"{row.where} has {group}identifier={shown(name)}, which {texts[name].where} has too")
        pair = None if text_pair is None else row.text(text_pair)
        column = label if needs_labels or label in row.values else None
        value = None
        try:
            value = None if column is None else read_label(row, column)
        except ValueError as error:
            if needs_labels or not row.is_empty(column):
                raise
            refused = refused or error  # as soon as another row has a label
        texts[name] = LabeledText(name, row.text(text), pair, value, row.where)
        has_labels = has_labels or (column is not None and not row.is_empty(column))
    if refused is not None and has_labels:
        raise refused
    found = list(texts.values())
    return found if needs_labels or has_labels else [replace(each, label=None) for each in found]


def tab_fields(path: Path) -> Iterator[tuple[str, Fields]]:
    """Yield the place and the fields of each line of a TSV; empty lines are left out."""
    for number, line in numbered_lines(path):
        if line:
            yield f"{path}, line {number}", line.split("\t")


def _comma_fields(path: Path) -> Iterator[tuple[str, Fields]]:
    """Yield the place and the fields of each record of a CSV, which may span lines."""
    csv.field_size_limit(MAX_LINE_BYTES)
    records = csv.reader((f"{line}\n" for _, line in numbered_lines(path)), strict=True)
    begin = 1
    try:
        for fields in records:
            if fields:
                yield f"{path}, line {begin}", fields
            begin = records.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {begin} is not a record of a CSV: {error}") from error


def _rows_below_header(lines: Iterator[tuple[str, Fields]]) -> Iterator[Row]:
    where, header = next(lines, ("", []))
    if len(set(header)) < len(header):
        raise ValueError(f"{where} names a column twice: {listed(header)}")
    for where, fields in lines:
        if len(fields) != len(header):
            raise ValueError(f"{where} has {number_of(len(fields), 'field')}, but the header has {len(header)}")
        yield Row(dict(zip(header, fields, strict=True)), where)


def _tab_rows(path: Path) -> Iterator[Row]:
    return _rows_below_header(tab_fields(path))


def _comma_rows(path: Path) -> Iterator[Row]:
    return _rows_below_header(_comma_fields(path))


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in numbered_lines(path):
        if line.strip():
            where = f"{path}, line {number}"
            if number == 1 and line.startswith("["):
                raise ValueError(f"{where} begins an array; a table in JSON has an object in every line (JSON lines)")
            yield Row(parse_object(line, where), where)


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ValueError(f"{path} needs pyarrow to be read: pip install 'bert-lightning[prepare]'") from error
    number = 0
    try:
        with ParquetFile(path, page_checksum_verification=True) as opened:
            for batch in opened.iter_batches(ROWS_AT_A_TIME):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, f"{path}, row {number}")
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a whole parquet file: {error}") from error


_FORMATS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".tsv": _tab_rows,
    ".csv": _comma_rows,
    ".jsonl": _json_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
}
TABLE_SUFFIXES = tuple(_FORMATS)
"""Endings of the files that `read_table` reads."""


def class_name(value: object) -> str:
    """Return the name of a class, empty if a value cannot be one.

    >>> class_name(" good "), class_name(2), class_name(True), class_name(None), class_name(float("nan"))
    ('good', '2', 'true', '', '')
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and math.isnan(value):
        return ""
    return json.dumps(value) if isinstance(value, bool | int | float) else ""
