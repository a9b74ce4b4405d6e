"""Lines that a reader cannot read: collected while a part is read, and numbered when they are shown."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SPARE = 1000
"""Bad lines of a part beyond the allowed ones after which its reading stops; the setting is wrong, not the lines."""


class BadLine(NamedTuple):
    """A line, or a page of a dump, that was left out.

    Attributes:
        file: The file.
        offset: Where the line begins in the uncompressed text, in bytes; None for a page, which the problem names.
        problem: What is wrong with it, in words that follow the name of the line or file.
    """

    file: str
    offset: int | None
    problem: str


class TooManyBadLinesError(ValueError):
    """A part has so many bad lines that the rest of it is not read."""


@dataclass(slots=True)
class BadLines:
    """Bad lines of a part.

    Attributes:
        allowed: Bad lines that the source may have.
        problems: What is wrong with each, by the offset of the line.
    """

    allowed: int = 0
    problems: dict[int, str] = field(default_factory=dict)

    def add(self, offset: int, problem: str) -> None:
        """Note a line that begins at an offset of the uncompressed text.

        Raises:
            TooManyBadLinesError: The part has many more bad lines than its source may have.
        """
        self.problems[offset] = problem
        if len(self.problems) > self.allowed + SPARE:
            raise TooManyBadLinesError

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(sorted(self.problems.items()))


def line_numbers(begins: Iterable[int], wanted: Collection[int]) -> dict[int, int]:
    """Return the numbers, from 1, of the lines that begin at some offsets; no line behind the last one is asked for.

    Args:
        begins: Offsets at which all lines of a file begin, in order.
        wanted: Offsets of the lines to number.
    """
    numbers: dict[int, int] = {}
    for number, offset in enumerate(begins, 1):
        if offset in wanted:
            numbers[offset] = number
        if len(numbers) == len(wanted):
            break
    return numbers


def described(lines: Sequence[BadLine], number: Callable[[str, Collection[int]], dict[int, int]]) -> list[str]:
    """Return the place of each line and what is wrong with it.

    Args:
        lines: The lines.
        number: Function that numbers the lines of a file by their offsets; it is called once for each file.
    """
    offsets: dict[str, set[int]] = {}
    for file, offset, _ in lines:
        if offset is not None:
            offsets.setdefault(file, set()).add(offset)
    numbers = {file: number(file, of_file) for file, of_file in offsets.items()}
    places = (file if offset is None else f"{file}, line {numbers[file].get(offset)}" for file, offset, _ in lines)
    return [f"{place} {line.problem}" for place, line in zip(places, lines, strict=True)]
