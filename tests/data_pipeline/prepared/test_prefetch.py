"""Fetching ahead: a fork meets no fetch on its way, and what its reader has come for is not fetched again."""

import io
import os
import threading
import time
from typing import BinaryIO

from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.prefetch import Prefetcher

ENTRIES = [ShardEntry(f"{number}.tar", 1, "", 1, 1, 1, 1) for number in range(200)]


class Fetches:
    """Fetches that take a while; `running` is true for as long as one does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running = False
        self.begun = threading.Event()
        self.fetched: list[str] = []

    def __call__(self, entry: ShardEntry) -> BinaryIO:
        self.running = True
        self.begun.set()
        time.sleep(self.seconds)
        self.fetched.append(entry.name)
        self.running = False
        return io.BytesIO()


def test_a_fork_waits_for_the_fetch_on_its_way_and_only_for_that() -> None:
    fetches = Fetches(0.05)
    prefetcher = Prefetcher(fetches)
    prefetcher.add(ENTRIES)
    for _ in range(5):
        fetches.begun.clear()
        assert fetches.begun.wait(10)
        process = os.fork()
        if not process:
            os._exit(fetches.running)
        assert os.waitpid(process, 0)[1] == 0
    assert len(fetches.fetched) < len(ENTRIES), "the fork waited for everything that was asked for"


def test_a_forked_process_fetches_ahead_with_a_thread_of_its_own() -> None:
    fetches = Fetches(0.05)
    prefetcher = Prefetcher(fetches)
    prefetcher.add(ENTRIES)
    assert fetches.begun.wait(10)
    process = os.fork()
    if not process:
        fetches.begun.clear()
        fetches.fetched.clear()
        prefetcher.add(ENTRIES[-1:])
        deadline = time.monotonic() + 20
        while not fetches.fetched and time.monotonic() < deadline:
            time.sleep(0.01)
        os._exit(fetches.fetched != [ENTRIES[-1].name])
    assert os.waitpid(process, 0)[1] == 0


def test_what_its_reader_has_come_for_is_left_out() -> None:
    fetches = Fetches(0.05)
    prefetcher = Prefetcher(fetches)
    prefetcher.add(ENTRIES[:6])
    assert fetches.begun.wait(10)
    for entry in ENTRIES[1:5]:
        prefetcher.discard(entry)
    deadline = time.monotonic() + 20
    while len(fetches.fetched) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert fetches.fetched == ["0.tar", "5.tar"]
