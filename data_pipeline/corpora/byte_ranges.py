"""Files as bytes: decompressed, where a task can begin to read a large one, and from one such place to another."""

import bz2
import gzip
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow

_SEARCH_BYTES = 1 << 20
_LONGEST_MATCH = 256
# The head of a bz2 stream with the magic number of its first block: 80 bits, so that chance does not write them.
BZ2_STREAM = re.compile(rb"(?=BZh[1-9]\x31\x41\x59\x26\x53\x59)")


def _open_zstd(file: Path, mode: str) -> io.BufferedReader:
    """Open with Arrow: the zstandard package ends a file that was cut short without an error."""
    return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(file), mode), "zstd"))


_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".zst": _open_zstd}
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
"""What the suffixes of compressed files mean."""


def open_whole(file: Path) -> BinaryIO:
    """Open a file, plain, gz, bz2 or zst, for the bytes it had before it was compressed."""
    return cast(BinaryIO, _OPENERS.get(file.suffix, Path.open)(file, "rb"))


def open_range(file: Path, begin: int, end: int | None) -> BinaryIO:
    """Open a file between two places that `places` gave; of a bz2 file these are beginnings of streams."""
    if begin == 0 and end is None:
        return open_whole(file)
    content = io.BufferedReader(_Range(file, begin, end))
    return cast(BinaryIO, bz2.BZ2File(content) if file.suffix == ".bz2" else content)


def places(file: Path, step: int, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Yield where the first match ends that is at least `step` bytes after the last, again and again."""
    place = next_place(file, step, pattern)
    while place is not None:
        yield place
        place = next_place(file, place + step, pattern)


def next_place(file: Path, begin: int, pattern: re.Pattern[bytes]) -> int | None:
    """Return where the first match ends that is found from byte `begin` on; matches of many lines may be missed."""
    with file.open("rb") as content:
        content.seek(begin)
        place, window = begin, b""
        while more := content.read(_SEARCH_BYTES):
            window += more
            if match := pattern.search(window):
                return place + match.end()
            place += max(0, len(window) - _LONGEST_MATCH)
            window = window[-_LONGEST_MATCH:]
    return None


class _Range(io.RawIOBase):
    """The bytes of a file from one place to another."""

    def __init__(self, file: Path, begin: int, end: int | None) -> None:
        super().__init__()
        self._content = file.open("rb")
        self._content.seek(begin)
        self._left = (file.stat().st_size if end is None else end) - begin

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self._content.readinto(memoryview(buffer)[: self._left])
        self._left -= size
        return size

    def close(self) -> None:
        self._content.close()
        super().close()
