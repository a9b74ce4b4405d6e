"""Who is silent, who is behind, and that the living are left alone; with a real store and short times."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch.distributed as dist

from bert_lightning.callbacks.watchdog import Watchdog
from bert_lightning.distributed.heartbeat import Beat, Heartbeat, Verdict

TIMES = {"interval_seconds": 0.05, "silent_seconds": 1.0, "stuck_seconds": 2.0}


class Ranks:
    """Heartbeats of several ranks in one process."""

    def __init__(self, number: int, **times: float) -> None:
        self.server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.verdicts: dict[int, Verdict] = {}
        self.found = threading.Event()
        self.beats = [
            Heartbeat(self.client(), rank, number, self.note(rank), **(TIMES | times)) for rank in range(number)
        ]
        for beat in self.beats:
            beat.start()
        for beat in self.beats:
            beat.watch()

    def client(self) -> dist.Store:
        return dist.TCPStore("127.0.0.1", self.server.port, is_master=False, wait_for_workers=False)

    def note(self, rank: int):
        def keep(verdict: Verdict) -> None:
            self.verdicts[rank] = verdict
            self.found.set()

        return keep

    def silence(self, rank: int) -> None:
        """As SIGKILL or SIGSTOP does: the beats end without a word."""
        self.beats[rank]._stopped.set()

    def wait_for(self, ranks: set[int]) -> None:
        deadline = time.monotonic() + 20
        while not ranks <= set(self.verdicts) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert set(self.verdicts) == ranks

    def end(self) -> None:
        for beat in self.beats:
            beat._stopped.set()
        time.sleep(0.2)


@pytest.fixture
def three() -> Iterator[Ranks]:
    ranks = Ranks(3)
    yield ranks
    ranks.end()


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_silent_rank_is_named_by_all_others(three: Ranks, silent: int) -> None:
    three.beats[silent].mark("in step 7")
    time.sleep(0.3)
    three.silence(silent)
    three.wait_for({0, 1, 2} - {silent})
    for verdict in three.verdicts.values():
        assert [beat.rank for beat in verdict.who] == [silent]
        assert "no sign of life for 1 s: rank" in str(verdict)
        assert "in step 7" in str(verdict)


def test_the_rank_that_the_others_wait_for_is_named(three: Ranks) -> None:
    for beat in three.beats:
        beat.mark("after step 3")
    for beat in (three.beats[0], three.beats[2]):
        beat.mark("in step 4")
    three.wait_for({0, 1, 2})
    assert all([beat.rank for beat in verdict.who] == [1] for verdict in three.verdicts.values())
    assert "no rank has gone on for 2 s, the others wait for: rank 1" in str(three.verdicts[2])
    assert "after step 3" in str(three.verdicts[2])


def test_the_living_and_those_that_have_finished_are_left_alone() -> None:
    ranks = Ranks(3)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        for beat in ranks.beats:
            beat.mark("in a step")
        time.sleep(0.1)
    ranks.beats[1].stop()
    time.sleep(2)
    ranks.end()
    assert not ranks.verdicts


def test_who_is_missing_is_found_on_demand(three: Ranks) -> None:
    assert three.beats[2].missing() is None
    three.silence(0)
    three.beats[1].stop("failed: ValueError: no such thing")
    missing = three.beats[2].missing()
    assert missing is not None
    assert [beat.rank for beat in missing.who] == [0, 1]
    assert "failed: ValueError: no such thing" in str(missing)


def test_times_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"silent_seconds=5 must be at least 4 times interval_seconds=2"):
        Watchdog(2, 5)
    with pytest.raises(ValueError, match=r"stuck_seconds=30 no less"):
        Watchdog(2, 60, 30)


def test_nothing_talks_to_the_store_after_the_end(three: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that ends meanwhile aborts, and Lightning's launcher then kills the whole run."""
    slow = three.beats[1]
    asked = threading.Event()
    read_at_once = slow._read

    def read(ranks: range) -> list[Beat]:
        asked.set()
        time.sleep(0.2)
        return read_at_once(ranks)

    monkeypatch.setattr(slow, "_read", read)
    assert asked.wait(10)
    slow.stop()
    assert not slow._talker.is_alive()
