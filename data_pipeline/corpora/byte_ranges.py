"""Byte ranges of files, decompressed, and the offsets at which a task may begin to read a large file."""

import bz2
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow

_SEARCH_BYTES = 1 << 20
_LONGEST_MATCH = 256
# Header of a bz2 stream and the magic number of its first block: 80 bits, too many to occur by chance.
BZ2_STREAM = re.compile(rb"(?=BZh[1-9]\x31\x41\x59\x26\x53\x59)")


def _open_zstd(file: Path, mode: str) -> io.BufferedReader:
    """Open with Arrow, because the package zstandard reads a truncated file without an error."""
    return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(file), mode), "zstd"))


_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _open_zstd}
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
"""Suffixes of compressed files, and the names of their formats."""


def open_whole(file: Path) -> BinaryIO:
    """Open a plain, gz, bz2, xz or zst file and read its uncompressed bytes."""
    return cast(BinaryIO, _OPENERS.get(file.suffix, Path.open)(file, "rb"))


def open_range(file: Path, begin: int, end: int | None) -> BinaryIO:
    """Open a file from one offset of `entry_offsets` to another; in a bz2 file these are beginnings of streams."""
    if begin == 0 and end is None:
        return open_whole(file)
    content = io.BufferedReader(_Range(file, begin, end))
    return cast(BinaryIO, bz2.BZ2File(content) if file.suffix == ".bz2" else content)


def entry_offsets(file: Path, step: int, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Yield byte offsets at which matches of `pattern` end, each at least `step` bytes after the one before."""
    offset = next_entry_offset(file, step, pattern)
    while offset is not None:
        yield offset
        offset = next_entry_offset(file, offset + step, pattern)


def next_entry_offset(file: Path, begin: int, pattern: re.Pattern[bytes]) -> int | None:
    """Return the byte offset at which the first match from byte `begin` on ends, or None.

    Matches longer than 256 bytes may be missed.
    """
    with file.open("rb") as content:
        content.seek(begin)
        offset, window = begin, b""
        while more := content.read(_SEARCH_BYTES):
            window += more
            if match := pattern.search(window):
                return offset + match.end()
            offset += max(0, len(window) - _LONGEST_MATCH)
            window = window[-_LONGEST_MATCH:]
    return None


class _Range(io.RawIOBase):
    """Raw stream of the bytes of a file from `begin` to `end`; None for the end of the file."""

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
