"""Lines that a reader cannot read: collected while a part is read, and named with their numbers at its end."""

from collections.abc import Iterator
from dataclasses import dataclass, field

SPARE = 1000
"""Bad lines of a part beyond the allowed ones after which its reading stops; the setting is wrong, not the lines."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was left out.

    Attributes:
        where: File and number of the line.
        problem: What is wrong with it, in words that follow the line's name.
    """

    where: str
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
