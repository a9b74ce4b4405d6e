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

from data_pipeline.corpora.chunk_streams import CHUNK_BYTES, stream_of

_SEARCH_BYTES = 1 << 20
_LONGEST_MATCH = 256
# Header of a bz2 stream and the magic number of its first block: 80 bits, too many to occur by chance.
BZ2_STREAM = re.compile(rb"(?=BZh[1-9]\x31\x41\x59\x26\x53\x59)")


Begin = Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
"""Suffixes of compressed files, in small letters, and the names of their formats."""
_STREAMS: dict[str, Begin] = {"bz2": bz2.BZ2Decompressor, "xz": lzma.LZMADecompressor}


def compression_of(file: Path) -> str | None:
    """Return the name of the format in which a file is compressed, None for a plain file.

    >>> compression_of(Path("a.jsonl.GZ")), compression_of(Path("a.jsonl"))
    ('gzip', None)
    """
    return COMPRESSIONS.get(file.suffix.lower())


def open_whole(file: Path) -> BinaryIO:
    """Open a plain, gz, bz2, xz or zst file and read its uncompressed bytes."""
    match compression_of(file):
        case None:
            return file.open("rb")
        case "gzip":
            return cast(BinaryIO, gzip.open(file))
        case "zstd":  # with Arrow, because the package zstandard reads a truncated file without an error
            arrow = pyarrow.CompressedInputStream(pyarrow.OSFile(str(file), "rb"), "zstd")
            return cast(BinaryIO, io.BufferedReader(arrow))
        case kind:
            return _all_streams(file.open("rb"), _STREAMS[kind])


def open_range(file: Path, begin: int, end: int | None) -> BinaryIO:
    """Open a file from one offset of `entry_offsets` to another; in a bz2 file these are beginnings of streams."""
    if begin == 0 and end is None:
        return open_whole(file)
    content = cast(BinaryIO, io.BufferedReader(_Range(file, begin, end)))
    return _all_streams(content, bz2.BZ2Decompressor) if compression_of(file) == "bz2" else content


def _all_streams(content: BinaryIO, begin: Begin) -> BinaryIO:
    return stream_of(_decompressed(content, begin), content)


def _decompressed(content: BinaryIO, begin: Begin) -> Iterator[bytes]:
    """Yield the bytes of all streams of a file; the modules bz2 and lzma end at the first damaged one without an error.

    Zero bytes may stand behind a stream.
    """
    data = content.read(CHUNK_BYTES)
    while True:
        stream = begin()
        while not stream.eof:
            if stream.needs_input and not data:
                raise EOFError("it ends inside a stream")
            yield stream.decompress(data, CHUNK_BYTES)
            data = content.read(CHUNK_BYTES) if stream.needs_input else b""
        data = stream.unused_data.lstrip(b"\0")
        while not data:
            if not (more := content.read(CHUNK_BYTES)):
                return
            data = more.lstrip(b"\0")


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
