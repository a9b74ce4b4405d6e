"""Binary streams of what is made chunk by chunk, such as decompressed or recoded bytes."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

CHUNK_BYTES = 1 << 16


def stream_of(chunks: Iterator[bytes], content: BinaryIO) -> BinaryIO:
    """Return a stream of the bytes of all chunks.

    Args:
        chunks: The bytes; what making them raises, reading raises.
        content: The stream that they are made of, which is closed with the stream.
    """
    return cast(BinaryIO, io.BufferedReader(_ChunkStream(chunks, content), CHUNK_BYTES))


class _ChunkStream(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes], content: BinaryIO) -> None:
        super().__init__()
        self._chunks = chunks
        self._content = content
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            if (chunk := next(self._chunks, None)) is None:
                return 0
            self._waiting = memoryview(chunk)
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        return size

    def close(self) -> None:
        self._content.close()
        super().close()
