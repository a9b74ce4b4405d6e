"""Lines of a text file with their numbers; a line of endless length or of other bytes than UTF-8 is an error."""

from collections.abc import Iterator
from pathlib import Path

MAX_LINE_BYTES = 1 << 24
"""Most bytes of one line; a row of a table with a whole book in it has about a tenth of them."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield the number of each line, from 1, and its text without its end (\n or \r\n) and byte-order mark.

    Raises:
        ValueError: naming the file, and the line if there is one: the file cannot be opened, or a line is longer than
            `MAX_LINE_BYTES` or not UTF-8.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"{path}, line {number} is longer than {MAX_LINE_BYTES} bytes")
            content = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            try:
                text = content.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number} is not UTF-8 text: {error.reason}") from error
            yield number, text.removesuffix("\n").removesuffix("\r")
