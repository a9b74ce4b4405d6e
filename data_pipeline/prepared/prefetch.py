"""Fetching ahead: a thread that opens shards before they are asked for, so that they are there when they are.

A process that is forked gets a copy of every open file, also of a pipe that another thread is just making for a
command, which then never sees its end. So a fork waits until no shard is on its way, and none sets out meanwhile.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from functools import cache
from queue import SimpleQueue
from typing import BinaryIO

from data_pipeline.prepared.manifest import FileEntry

_gate = threading.Lock()
"""Held by a fork; passed by a thread that begins a fetch. Without it a busy thread could take `_fetching` for ever."""
_fetching = threading.Lock()


class Prefetcher:
    """One thread a process, begun on first use; it ends with the process and does not hold it up.

    Args:
        fetch: Brings a shard here. Its errors are left to the reader, who meets them again where they can be told.
    """

    def __init__(self, fetch: Callable[[FileEntry], BinaryIO]) -> None:
        self._fetch = fetch
        self._thread: threading.Thread | None = None
        self._wanted: set[str] = set()

    def add(self, entries: Iterable[FileEntry]) -> None:
        """Fetch shards after those that were added before."""
        if self._thread is None or not self._thread.is_alive():  # a forked process has the object, not the thread
            _make_forks_wait()
            self._entries: SimpleQueue[FileEntry] = SimpleQueue()
            self._wanted = set()
            self._thread = threading.Thread(target=self._run, args=(self._entries, self._wanted), daemon=True)
            self._thread.start()
        for entry in entries:
            self._wanted.add(entry.name)
            self._entries.put(entry)

    def discard(self, entry: FileEntry) -> None:
        """Leave out a shard that its reader has come for himself."""
        self._wanted.discard(entry.name)

    def _run(self, entries: SimpleQueue[FileEntry], wanted: set[str]) -> None:
        while True:
            entry = entries.get()
            with _gate:
                _fetching.acquire()
            try:
                if entry.name in wanted:
                    wanted.discard(entry.name)
                    with contextlib.suppress(ValueError, OSError):
                        self._fetch(entry).close()
            finally:
                _fetching.release()

    def __getstate__(self) -> dict[str, object]:
        """Leave the thread behind when another process gets its copy."""
        return {"_fetch": self._fetch, "_thread": None, "_wanted": set()}


@cache
def _make_forks_wait() -> None:
    """Have forks wait for fetches, in every process once.

    Hooks run in the reverse order of their registration: registered when the first thread begins, ours come before
    those of the libraries that it fetches with, and take nothing from it that it needs to come to an end.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_halt, after_in_parent=_go_on, after_in_child=_go_on)


def _halt() -> None:
    _gate.acquire()
    _fetching.acquire()


def _go_on() -> None:
    _fetching.release()
    _gate.release()
