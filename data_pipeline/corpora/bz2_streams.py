"""bz2 files of several streams one after another: where they begin, and how to read from one to another."""

import bz2
import io
import re
from pathlib import Path

# The head of a stream with the magic number of its first block: 80 bits, so that chance does not write them.
_STREAM = re.compile(rb"BZh[1-9]\x31\x41\x59\x26\x53\x59")
_LENGTH = 10
_SEARCH_BYTES = 1 << 20


def next_stream(file: Path, begin: int) -> int | None:
    """Return where the first stream begins that begins at byte `begin` of the file or after it."""
    with file.open("rb") as content:
        content.seek(begin)
        place, window = begin, b""
        while more := content.read(_SEARCH_BYTES):
            window += more
            if match := _STREAM.search(window):
                return place + match.start()
            place += max(0, len(window) - _LENGTH + 1)
            window = window[-_LENGTH + 1 :]
    return None


def open_range(file: Path, begin: int, end: int | None) -> bz2.BZ2File | io.BufferedReader:
    """Open bytes `begin` to `end` of a file, and decompress them where it is a bz2 file; streams begin at both."""
    if file.suffix == ".bz2":
        return bz2.BZ2File(_Range(file, begin, end))  # type: ignore[call-overload]
    return file.open("rb")


class _Range:
    """As much of a file object as bz2 reads from."""

    def __init__(self, file: Path, begin: int, end: int | None) -> None:
        self._content = file.open("rb")
        self._content.seek(begin)
        self._left = (file.stat().st_size if end is None else end) - begin

    def read(self, size: int) -> bytes:
        content = self._content.read(min(size, self._left))
        self._left -= len(content)
        return content
