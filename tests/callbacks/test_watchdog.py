"""A run ends within a bounded time if a rank has failed or is lost; it goes on if all of them know why."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from bert_lightning.callbacks import watchdog
from bert_lightning.callbacks.watchdog import Watchdog
from bert_lightning.distributed.heartbeat import FAILED, LOST_A_RANK, Beat, Verdict
from bert_lightning.training.step_guard import NotFiniteError
from data_pipeline.processes.machine_faults import machine_fault
from tests.support.runs import compose_here

LOST_LOADER = "DataLoader worker (pid 7) is killed by signal: Killed. "


@pytest.mark.parametrize(
    ("error", "is_ended"), [(NotFiniteError(3, 8, 4), False), (ValueError("no such file"), True), (OSError(28), True)]
)
def test_only_an_error_of_one_rank_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_ended: bool
) -> None:
    """After a training that diverged, which every rank knows, a grid goes on with its next point."""
    begun: list[str] = []
    timer = SimpleNamespace(start=lambda: begun.append("timer"))
    monkeypatch.setattr(watchdog, "threading", SimpleNamespace(**vars(threading) | {"Timer": lambda *args: timer}))
    callback: Any = Watchdog()
    callback._heartbeat = SimpleNamespace(stop=begun.append)
    callback.on_exception(None, None, error)
    assert begun[1:] == (["timer"] if is_ended else [])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_rank_that_hangs_is_named_before_the_others_give_up(strategy: str) -> None:
    settings = compose_here("pretrain", {"strategy": strategy, "data.path": "data", "run_name": "a"})
    assert settings.strategy.timeout_seconds >= settings.callbacks.watchdog.stuck_seconds + 300


def ended_with(monkeypatch: pytest.MonkeyPatch, error: Exception, verdict: Verdict | None) -> str:
    """Let a rank meet an error, and return what it tells the others."""
    said: list[str] = []
    callback: Any = Watchdog()
    callback._heartbeat = SimpleNamespace(missing=lambda: verdict, stop=said.append)
    never = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(threading, "Timer", lambda *ignored: never)
    callback.on_exception(None, None, error)
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
