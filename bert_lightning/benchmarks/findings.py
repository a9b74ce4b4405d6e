"""The results of a benchmark: tables for the screen, and the same figures by name for JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class FigureTable:
    """A table of figures.

    Attributes:
        title: The quantity that was measured, and its unit.
        columns: Names; the first column names the subject of a row.
        rows: Values, one for each column; None if there is none.
        note: How to read it, in a sentence.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    note: str = ""

    def as_records(self) -> list[dict[str, Cell]]:
        """Return the rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(*self.columns, title=f"\n{self.title}", caption=escape(self.note) or None)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(*map(_in_words, row))
        console.print(table)


class Part(Protocol):
    """One subject of the benchmark; one class each, chosen by the `part` config group."""

    def __call__(self, console: Console) -> list[FigureTable]:
        """Measure, and report progress on the console."""


def _in_words(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.3g}"
