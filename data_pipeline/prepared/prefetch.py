"""Fetching ahead: a thread that fetches files before they are needed.

A forked process gets a copy of every open file. That includes the pipe of a command that another thread is starting;
with two copies of the writing end the reader never sees the end of the output. So a fork waits until the running fetch
has ended, and no fetch begins during a fork.
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
"""Held by a fork, and passed by a thread that begins a fetch; without it a busy thread could keep a fork waiting."""
_fetching = threading.Lock()


class Prefetcher:
    """One thread a process, started on first use; it ends with the process and does not delay its end.

    Args:
        fetch: Fetches a file. Its errors are dropped: the reader of the file gets them again, and can report them.
    """

    def __init__(self, fetch: Callable[[FileEntry], BinaryIO]) -> None:
        self._fetch = fetch
        self._thread: threading.Thread | None = None
        self._wanted: set[str] = set()

    def add(self, entries: Iterable[FileEntry]) -> None:
        """Fetch files after those that were added before."""
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
        """Do not fetch a file whose reader already asks for it."""
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
        """Return the state without the thread, which cannot be copied to another process."""
        return {"_fetch": self._fetch, "_thread": None, "_wanted": set()}


@cache
def _make_forks_wait() -> None:
    """Make forks wait for fetches; done once in every process.

    Hooks run in the reverse order of their registration. These hooks are registered when the first thread starts, after
    those of the libraries that fetch, and so run before them, while a fetch can still use the libraries and end.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_wait_for_fetch, after_in_parent=_allow_fetches, after_in_child=_allow_fetches)


def _wait_for_fetch() -> None:
    _gate.acquire()
    _fetching.acquire()


def _allow_fetches() -> None:
    _fetching.release()
    _gate.release()
