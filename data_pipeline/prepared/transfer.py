"""Transfer of a file: retried after a pause, resumed where it broke, checked at the end."""

import contextlib
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from data_pipeline.prepared.storage import DamagedError, Storage, shown

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_pauses = random.Random()


def fetch(
    storage: Storage,
    name: str,
    into: BinaryIO,
    retries: int,
    size: int | None = None,
    sha256: str | None = None,
    check: Callable[[bytes], None] | None = None,
    most_bytes: int | None = None,
) -> None:
    """Write a file into `into`, checked.

    Args:
        storage: The storage that has the file.
        name: Path of the file in the folder.
        into: A file open for reading and writing; its content is the beginning of the file and is not fetched again.
        retries: How often to try again. The pauses double from half a second to 30 and vary at random, so that the
            processes of a cluster do not come back all at once.
        size: Bytes of the file, None if unknown.
        sha256: Hash of the file, None if unknown.
        check: Raises a DamagedError if the whole content is not what it should be.
        most_bytes: Bytes from which a file of unknown size is refused; it is not fetched further, nor again.

    Raises:
        ValueError: naming the address, the number of attempts and the last cause.
    """
    for attempt in range(retries + 1):
        if attempt:
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            time.sleep(pause * _pauses.uniform(0.5, 1))
        try:
            with contextlib.closing(storage.read(name, into.seek(0, os.SEEK_END))) as chunks:
                _append(chunks, into, size, most_bytes)
            _check(into, size, sha256)
            if check is not None:
                into.seek(0)
                check(into.read())
            return
        except TooLongError:
            raise ValueError(f"{shown(storage.url(name))} has more than {most_bytes} bytes; it is refused") from None
        except DamagedError as error:
            into.truncate(0)
            cause: OSError = error
        except OSError as error:
            cause = error
    raise ValueError(
        f"{shown(storage.url(name))} could not be fetched in {retries + 1} attempts (data.retries={retries}); "
        f"the last ended with: {cause}"
    ) from cause


class TooLongError(Exception):
    """A file goes on beyond the most bytes that it may have."""


def _append(chunks: Iterator[bytes], file: BinaryIO, size: int | None, most_bytes: int | None) -> None:
    for chunk in chunks:
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:
            raise ValueError(f"data.cache_dir cannot be written to: {error}") from error
        if size is not None and file.tell() > size:
            raise DamagedError(f"more than the {size} bytes the manifest says")
        if most_bytes is not None and file.tell() > most_bytes:
            raise TooLongError


def _check(file: BinaryIO, size: int | None, sha256: str | None) -> None:
    found = file.seek(0, os.SEEK_END)
    if size is not None and found < size:
        raise OSError(f"{found} bytes, the manifest says {size}")
    file.seek(0)
    if sha256 is not None and hashlib.sha256(file.read()).hexdigest() != sha256:
        raise DamagedError("content whose sha256 is not the one in the manifest")
