"""Fetching ahead: a thread that opens shards before they are asked for, so that they are there when they are."""

import contextlib
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import BinaryIO

from data_pipeline.manifest import ShardEntry


class Prefetcher:
    """One thread a process, begun on first use; it ends with the process and does not hold it up.

    Args:
        fetch: Brings a shard here. Its errors are left to the reader, who meets them again where they can be told.
    """

    def __init__(self, fetch: Callable[[ShardEntry], BinaryIO]) -> None:
        self._fetch = fetch
        self._thread: threading.Thread | None = None

    def add(self, entries: Iterable[ShardEntry]) -> None:
        """Fetch shards after those that were added before."""
        if self._thread is None or not self._thread.is_alive():  # a forked process has the object, not the thread
            self._entries: SimpleQueue[ShardEntry] = SimpleQueue()
            self._thread = threading.Thread(target=_run, args=(self._fetch, self._entries), daemon=True)
            self._thread.start()
        for entry in entries:
            self._entries.put(entry)

    def __getstate__(self) -> dict[str, object]:
        """Leave the thread behind when another process gets its copy."""
        return {"_fetch": self._fetch, "_thread": None}


def _run(fetch: Callable[[ShardEntry], BinaryIO], entries: SimpleQueue[ShardEntry]) -> None:
    while True:
        with contextlib.suppress(ValueError, OSError):
            fetch(entries.get()).close()
