"""How a rank ends that another one leaves alone: as lost by the machine, unless that one has failed."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from bert_lightning.callbacks.watchdog import Watchdog
from bert_lightning.distributed.heartbeat import FAILED, LOST_A_RANK, Beat, Verdict
from data_pipeline.processes.machine_faults import machine_fault

LOST_LOADER = "DataLoader worker (pid 7) is killed by signal: Killed. "


def ended_with(monkeypatch: pytest.MonkeyPatch, error: Exception, verdict: Verdict | None) -> str:
    """Let a rank meet an error, and return what it tells the others."""
    said: list[str] = []
    watchdog: Any = Watchdog()
    watchdog._heartbeat = SimpleNamespace(missing=lambda: verdict, stop=said.append)
    never = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(threading, "Timer", lambda *ignored: never)
    watchdog.on_exception(None, None, error)
    return said[0]


def test_a_lost_rank_is_the_fault_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("Connection closed by peer")
    assert ended_with(monkeypatch, error, Verdict("a rank is gone", (Beat(1),))) == LOST_A_RANK
    assert str(machine_fault(error)).startswith("the run cannot go on, a rank is gone: rank 1 (host")
    error = RuntimeError(LOST_LOADER)
    assert ended_with(monkeypatch, error, None) == machine_fault(error)


def test_a_rank_that_fails_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ended_with(monkeypatch, ValueError("bad"), None)
    assert own == f"{FAILED}ValueError: bad"
    error = RuntimeError("Connection closed by peer")
    assert ended_with(monkeypatch, error, Verdict("a rank is gone", (Beat(1, ended=own),))) == LOST_A_RANK
    assert machine_fault(error) is None
