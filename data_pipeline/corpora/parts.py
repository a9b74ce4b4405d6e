"""Parts: input that one task can read alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Part:
    """A file, a range of a file, or a shard of a stream.

    Attributes:
        name: Path of the file, or another name by which the reader finds the input.
        bytes: Size in bytes, None if it is unknown; tasks get parts of about the same total size.
        begin: Begin of the range, in the reader's unit: bytes, row groups or shards.
        end: End of the range; None for the end of the file.
    """

    name: str
    bytes: int | None
    begin: int = 0
    end: int | None = None


def cut_at(file: Path, offsets: Iterable[int]) -> Iterator[Part]:
    """Cut a file at byte offsets, in order."""
    size, begin = file.stat().st_size, 0
    for offset in offsets:
        if offset < size:
            yield Part(str(file), offset - begin, begin, offset)
            begin = offset
    yield Part(str(file), size - begin, begin)
