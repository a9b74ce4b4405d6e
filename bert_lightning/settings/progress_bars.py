"""Bars in a terminal that say how far a command is; without a terminal there are none."""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, TypeVar, cast

from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from bert_lightning.settings.cli import is_point
from bert_lightning.settings.config import is_first_process

T = TypeVar("T")
GAP = "  "
"""What stands between two figures."""
SHOWN_BY_BARS = {"shown_by_bars": True}
"""`extra` of log lines that say what a bar says: while bars are open they go into log files, not into the terminal."""


class Bars(Progress):
    """Bars, and below them the figures of each: those in its field `figures`.

    Args:
        console: A console with a terminal.
    """

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        super().__init__(*columns, console=console, expand=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bars and the lines below them."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            for line in packed(task.fields.get("figures", ""), self.console.width):
                yield Text(line, no_wrap=True)


def packed(figures: str, width: int) -> list[str]:
    """Return figures in lines that are no wider than a terminal; no figure is torn.

    >>> packed("loss 9.1  mlm 2.6%  1,614 tok/s", 20)
    ['loss 9.1  mlm 2.6%', '1,614 tok/s']
    """
    lines: list[str] = []
    for figure in filter(None, figures.split(GAP)):
        if lines and len(lines[-1]) + len(GAP) + len(figure) <= width:
            lines[-1] += GAP + figure
        else:
            lines.append(figure)
    return lines


class LastingStream:
    """A stream into a terminal that may be lost, as when a window is closed: what it cannot take is left out.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or nothing."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, if there is somebody to take it."""
        with suppress(OSError):
            self._stream.flush()


def error_console() -> Console:
    """Return the console of the standard error, which bars are written to."""
    return Console(file=cast(TextIO, LastingStream(sys.stderr)))


@contextmanager
def open_bars(console: Console) -> Iterator[Bars]:
    """Show bars until the end; what is logged meanwhile stands above them."""
    handlers = _handlers_of_a_terminal()
    streams = [each.setStream(FileProxy(console, each.stream)) for each in handlers]
    for handler in handlers:
        handler.addFilter(_is_not_shown_by_bars)
    try:
        with Bars(console) as bars:
            yield bars
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            handler.removeFilter(_is_not_shown_by_bars)
            handler.setStream(stream)


def _is_not_shown_by_bars(record: logging.LogRecord) -> bool:
    return not getattr(record, "shown_by_bars", False)


def _handlers_of_a_terminal() -> list[logging.StreamHandler[Any]]:
    """Return what writes log lines into a terminal."""
    handlers = (each for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler))
    return [each for each in handlers if not isinstance(each, logging.FileHandler) and each.stream.isatty()]


def counted(items: Iterable[T], name: str, total: int) -> Iterator[T]:
    """Yield items, and show in a terminal how many of them are done; on the first process.

    Args:
        items: The items.
        name: What they are.
        total: Number of the items.
    """
    console = error_console()
    if not (console.is_terminal and is_first_process()):
        yield from items
        return
    with open_bars(console) as bars:
        task = bars.add_task(name, total=total)
        for item in items:
            yield item
            bars.advance(task)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Show in a terminal what a command is doing while it cannot say how far it is."""
    console = error_console()
    if not (console.is_terminal and is_first_process()):
        yield
        return
    with console.status(name):
        yield


def say_end(places: Sequence[tuple[str, object]], next_lines: Sequence[str]) -> None:
    """Print where everything is that a command has made, and what to do next; a point of a sweep prints nothing.

    Args:
        places: What was made, and where it is.
        next_lines: Commands to copy.
    """
    if not is_point():
        print("\n".join(end_lines(places, next_lines)))


def end_lines(places: Sequence[tuple[str, object]], next_lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines with which a command ends.

    >>> list(end_lines([("run", "out/a"), ("report", "out/a.html")], ["bert-report out/a"]))
    ['run:    out/a', 'report: out/a.html', 'next:   bert-report out/a']

    Args:
        places: What was made, and where it is.
        next_lines: Commands to copy.
    """
    words = [*places, *(("next", line) for line in next_lines)]
    width = max(len(name) for name, _ in words) + 1
    for number, (name, where) in enumerate(words):
        shown = "" if number and words[number - 1][0] == name else f"{name}:"
        yield f"{shown:<{width}} {where}"
