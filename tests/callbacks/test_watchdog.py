"""A run ends within a bounded time if a rank has failed; it goes on if all of them know why."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from bert_lightning.callbacks import watchdog
from bert_lightning.callbacks.watchdog import Watchdog
from bert_lightning.training.step_guard import NotFiniteError
from tests.support.runs import compose_here


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
    assert begun == [f"failed: {type(error).__name__}: {error}", *(["timer"] if is_ended else [])]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_rank_that_hangs_is_named_before_the_others_give_up(strategy: str) -> None:
    settings = compose_here("pretrain", {"strategy": strategy, "data.path": "data", "run_name": "a"})
    assert settings.strategy.timeout_seconds >= settings.callbacks.watchdog.stuck_seconds + 300
