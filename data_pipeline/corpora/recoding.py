"""Text of another encoding as a stream of UTF-8, so that readers know one encoding."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline.corpora.chunk_streams import CHUNK_BYTES, stream_of

_MARK = "\udc80"
"""What stands for bytes that are not of the encoding; it is a lone surrogate, which is no UTF-8 either."""


def check_encoding(setting: str, encoding: str | None) -> None:
    """Raise a ValueError that names the setting if Python knows no such encoding of text; None is UTF-8."""
    try:
        if encoding is not None and not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError
    except (LookupError, TypeError):
        raise ValueError(f"{setting} must be null or an encoding such as utf-16 or cp1252; got {encoding}") from None


def as_utf8(content: BinaryIO, encoding: str) -> BinaryIO:
    """Return a stream of a text as UTF-8, without a byte-order mark; what is not of the encoding is no UTF-8 either."""
    return stream_of(_recoded(content, encoding), content)


def _recoded(content: BinaryIO, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(_MARKED)
    begins, ended = True, False
    while not ended:
        chunk = content.read(CHUNK_BYTES)
        ended = not chunk
        text = decoder.decode(chunk, final=ended)
        if text and begins:
            text, begins = text.removeprefix("\ufeff"), False
        yield text.encode("utf-8", "surrogatepass")


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _MARK, error.end


_MARKED = "data_pipeline.corpora.recoding.marked"
codecs.register_error(_MARKED, _marked)
