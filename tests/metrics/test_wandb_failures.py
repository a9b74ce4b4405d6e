"""W&B fails while a run trains: the run goes on without it, says so once, and its next launch makes up for it."""

import logging
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bert_lightning.metrics import wandb_run
from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.metrics.wandb_files import wandb_parts, wandb_records
from bert_lightning.metrics.wandb_run import WandbMetrics, end_wandb_run
from bert_lightning.settings.run_folder import RunFolder
from tests.support.processes import children


def lost(*args: Any, **options: Any) -> None:
    raise ConnectionResetError("Connection lost")


def well(*args: Any, **options: Any) -> None:
    """Do what is asked."""


def fake_run(**methods: Any) -> Any:
    """A run of W&B that is not there, as far as the files of earlier parts are concerned."""
    summary, config = SimpleNamespace(update=well), SimpleNamespace(update=methods.pop("update", well))
    made = {"log": well, "alert": well, "finish": well} | methods
    return SimpleNamespace(disabled=True, summary=summary, config=config, **made)


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> WandbMetrics:
    monkeypatch.setattr(wandb_run, "HURRIED_SECONDS", 0.05)
    monkeypatch.setattr("wandb.teardown", well)
    caplog.set_level(logging.INFO, "bert_lightning")
    return WandbMetrics("a", "tests", tmp_path, checkpoints="last")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("method", ["log", "update", "alert", "finish"])
def test_whatever_fails_the_run_goes_on_and_says_so_once(
    metrics: WandbMetrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    monkeypatch.setattr(metrics, "_begin", lambda: fake_run(**{method: lost}))
    for step in (1, 2, 3):
        metrics.log_hyperparams({"optimizer": {"lr": 0.1}})
        metrics.log_metrics({"train/loss": 1.0}, step)
        metrics.alert("Loss spike", "train/loss is high", "WARN")
    metrics.finalize("success")
    everything = "metrics.csv has everything, and the next launch sends it: Connection lost"
    assert said(caplog) == [f"W&B is left out from here on; {everything}"]


def test_a_run_that_was_told_to_stop_neither_waits_for_w_and_b_nor_uploads(
    metrics: WandbMetrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    run = fake_run(finish=lambda exit_code: released.wait(60))
    monkeypatch.setattr(metrics, "_begin", lambda: run)
    monkeypatch.setattr(wandb_run, "upload_checkpoints", lost)
    metrics.log_metrics({"train/loss": 1.0}, 1)
    run.disabled = False
    metrics.hurry()
    began = time.monotonic()
    metrics.finalize("success")
    assert time.monotonic() - began < 30
    assert said(caplog) == ["W&B has not uploaded everything in 0 s; the next launch, or `wandb sync`, sends it"]
    released.set()


def test_the_end_of_another_logger_may_fail_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wandb.run", fake_run(finish=lost))
    end_wandb_run()
    assert said(caplog) == ["W&B has not ended its run: Connection lost"]


def test_the_process_of_w_and_b_is_killed_and_the_next_launch_makes_up_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")

    def part(steps: list[int], killed_after: int = 0) -> None:
        file, metrics = MetricsCsv(tmp_path), WandbMetrics("a", "tests", tmp_path)
        for step in steps:
            for logger in (file, metrics):
                logger.log_metrics({"train/loss": 1.0 / step}, step)
            if step == killed_after:
                (core,) = [pid for pid in children(os.getpid()) if "wandb" in Path(f"/proc/{pid}/comm").read_text()]
                os.kill(core, signal.SIGKILL)
                os.waitpid(core, 0)
        metrics.finalize("success")

    part([1, 2, 3, 4, 5], killed_after=2)
    assert caplog.text.count("W&B is left out from here on") == 1
    part([6])
    folder = RunFolder(tmp_path)
    records = [record for path in wandb_parts(folder.wandb, folder.wandb_run()) for record in wandb_records(path)]
    steps = [record.history.step.num for record in records if record.WhichOneof("record_type") == "history"]
    assert sorted(set(steps)) == [1, 2, 3, 4, 5, 6]
    assert len(steps) == 6
