"""A cache of files from elsewhere on a disk of this node, shared by its processes; a cached file is whole and checked.

<folder>/shards/<sha256 of address and content>.tar        .partial during the transfer
<folder>/locks/<first digits>.lock                         one process fetches a shard, the others wait for it
<folder>/locks/<first digits>.holder                       which process that is, for errors of those that wait

A killed process leaves a .partial file, which the next process continues. Files are removed in the order of their last
use; a process that has one open can still read it.
"""

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from data_pipeline.prepared.manifest import FileEntry
from data_pipeline.prepared.storage import TIMEOUT_SECONDS, Storage
from data_pipeline.prepared.transfer import LONGEST_PAUSE_SECONDS, fetch

ABANDONED_SECONDS = 24 * 3600
SILENT_SECONDS = TIMEOUT_SECONDS + LONGEST_PAUSE_SECONDS
"""Longest time without a byte in one attempt to fetch a file."""


@dataclass(frozen=True, slots=True)
class ShardCache:
    """A folder of fetched shards.

    Attributes:
        folder: Folder on a disk of this node; made if it does not exist.
        max_bytes: Bytes of all files at most, None for no limit; only files in transfer may exceed it.
        retries: How often a broken transfer is tried again.
    """

    folder: Path
    max_bytes: int | None
    retries: int

    def open(self, storage: Storage, entry: FileEntry) -> BinaryIO:
        """Return a file, open for reading, fetched if it is not in the cache.

        Files are hashed when they are fetched; here only the size is checked.

        Raises:
            ValueError: naming the address, if the file cannot be fetched or is not what the manifest says.
        """
        if self.max_bytes is not None and entry.bytes > self.max_bytes:
            raise ValueError(f"data.cache_bytes={self.max_bytes} cannot hold the {entry.bytes} bytes of {entry.name}")
        path = self._path(storage, entry)
        if (file := _open_whole(path, entry.bytes)) is not None:
            return file
        try:
            for part in ("shards", "locks"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            with self._lock(path.name[:2], f"to fetch {entry.name}"):
                if (file := _open_whole(path, entry.bytes)) is not None:
                    return file
                file = self._fetch(storage, entry, path)
            self._make_room()
        except OSError as error:  # of this machine: those of the transfer end as a ValueError
            raise ValueError(f"data.cache_dir={self.folder} cannot be written to: {error}") from error
        return file

    def discard(self, storage: Storage, entry: FileEntry) -> None:
        """Discard a file whose content has changed on the disk."""
        self._path(storage, entry).unlink(missing_ok=True)

    def _path(self, storage: Storage, entry: FileEntry) -> Path:
        key = f"{storage.url(entry.name)}\n{entry.sha256}"
        return self.folder / "shards" / f"{hashlib.sha256(key.encode()).hexdigest()}.tar"

    @contextlib.contextmanager
    def _lock(self, name: str, purpose: str) -> Iterator[None]:
        """Hold a lock of the node; ValueError if its holder has fetched nothing for longer than all attempts take."""
        path = self.folder / "locks" / f"{name}.lock"
        lock, holder = FileLock(path), path.with_suffix(".holder")
        patience = (self.retries + 1) * SILENT_SECONDS
        while not lock.is_locked:
            try:
                lock.acquire(timeout=patience)
            except Timeout:
                silence = time.time() - self._last_sign(name)
                if silence > patience:
                    said = holder.read_text() if holder.exists() else "an unknown process"
                    raise ValueError(
                        f"data.cache_dir={self.folder}: {path} is held by {said}, and nothing has come for "
                        f"{patience:g} seconds; end that process and its children, or name another folder"
                    ) from None
        try:
            with contextlib.suppress(OSError):  # another user's, or the disk is full: it only tells
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, {purpose}")
            yield
        finally:
            lock.release()

    def _last_sign(self, name: str) -> float:
        """Return when a lock was last taken or a byte of its files last arrived, in seconds since the epoch."""
        latest = 0.0
        for path in [self.folder / "locks" / f"{name}.holder", *(self.folder / "shards").glob(f"{name}*.partial")]:
            with contextlib.suppress(FileNotFoundError):
                latest = max(latest, path.stat().st_mtime)
        return latest

    def _fetch(self, storage: Storage, entry: FileEntry, path: Path) -> BinaryIO:
        partial = path.with_suffix(".partial")
        file = partial.open("a+b")
        try:
            fetch(storage, entry.name, file, self.retries, entry.bytes, entry.sha256)
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
            file.seek(0)
        except BaseException:
            file.close()
            partial.unlink(missing_ok=True)
            raise
        return file

    def _make_room(self) -> None:
        """Remove files used longest ago until the rest is within the limit, and files that killed processes left."""
        if self.max_bytes is None:
            return
        with self._lock("room", "to make room"):
            found = []
            for path in (self.folder / "shards").iterdir():
                with contextlib.suppress(FileNotFoundError):  # finished and renamed in the meantime
                    found.append((path.stat(), path))
            shards = sorted((about.st_mtime_ns, about.st_size, path) for about, path in found if path.suffix == ".tar")
            excess = sum(size for _, size, _ in shards) - self.max_bytes
            for _, size, path in shards:
                if excess <= 0:
                    break
                path.unlink(missing_ok=True)
                excess -= size
            for about, path in found:
                if path.suffix == ".partial" and about.st_mtime < time.time() - ABANDONED_SECONDS:
                    path.unlink(missing_ok=True)


def _open_whole(path: Path, size: int) -> BinaryIO | None:
    """Return an open file of the right size and note its use; a file of another size is removed."""
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return None
    if os.fstat(file.fileno()).st_size != size:
        file.close()
        path.unlink(missing_ok=True)
        return None
    with contextlib.suppress(OSError):  # removed since, or another user's
        os.utime(path)
    return file
