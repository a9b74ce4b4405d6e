"""Text of another encoding as a stream of UTF-8, so that readers know one encoding."""

import codecs
import io
from typing import Any, BinaryIO, cast

CHUNK_BYTES = 1 << 16


def check_encoding(setting: str, encoding: str | None) -> None:
    """Raise a ValueError that names the setting if Python knows no such encoding of text; None is UTF-8."""
    try:
        if encoding is not None and not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError
    except (LookupError, TypeError):
        raise ValueError(f"{setting} must be null or an encoding such as utf-16 or cp1252; got {encoding}") from None


def as_utf8(content: BinaryIO, encoding: str) -> BinaryIO:
    """Return a stream of a text as UTF-8, without a byte-order mark; reading raises a UnicodeDecodeError."""
    return cast(BinaryIO, io.BufferedReader(_Recoded(content, encoding)))


class _Recoded(io.RawIOBase):
    def __init__(self, content: BinaryIO, encoding: str) -> None:
        super().__init__()
        self._content = content
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._waiting = b""
        self._begins = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ended = False
        while not self._waiting and not ended:
            chunk = self._content.read(CHUNK_BYTES)
            ended = not chunk
            text = self._decoder.decode(chunk, final=ended)
            if text and self._begins:
                text, self._begins = text.removeprefix("\ufeff"), False
            self._waiting = text.encode("utf-8", "surrogatepass")
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        return size

    def close(self) -> None:
        self._content.close()
        super().close()
