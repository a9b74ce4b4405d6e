"""A signal saves after the step in flight and stops; the continued run has the rows of one that was never stopped."""

import doctest
import os
import signal
import subprocess
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest

from bert_lightning.callbacks import preemption
from bert_lightning.callbacks.checkpointing import PeriodicCheckpoint
from bert_lightning.callbacks.preemption import (
    SIGNALS,
    Preemption,
    hand_over,
    queued_again_when_warned,
    was_signaled,
)
from bert_lightning.distributed.collectives import SharedFlags
from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.pretrain import build_trainer
from bert_lightning.training import stop_file
from bert_lightning.training.preempted_run import was_preempted
from bert_lightning.training.time_limit import counted_as_one_launch
from tests.support.checkout import checkout_environment
from tests.support.processes import children
from tests.support.runs import command, repeatable, run_here
from tests.support.settings import Settings

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x"}


class Signalling(L.Callback):
    """Send this process a signal in the middle of a step."""

    def __init__(self, at_step: int, number: signal.Signals) -> None:
        self.at_step, self.number = at_step, number

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.at_step:
            os.kill(os.getpid(), self.number)


class SignallingInValidation(L.Callback):
    """Send this process SIGTERM in the first batch of the validation after a step, and count the batches."""

    def __init__(self, at_step: int) -> None:
        self.at_step, self.batches = at_step, 0

    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.at_step:
            self.batches += 1
            os.kill(os.getpid(), signal.SIGTERM)


class Saver(PeriodicCheckpoint):
    """A save of the step is under way, and fails."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.saved_step = 4

    def is_on_disk(self, trainer: Any) -> bool:
        self.calls.append("waited for")
        return False

    def save(self, trainer: Any, is_last: bool = False) -> None:
        self.calls.append("saved as the last" if is_last else "saved")


def interrupt(monkeypatch: pytest.MonkeyPatch, settings: Settings, at_step: int, number: signal.Signals) -> L.Trainer:
    """Run with a signal at a step; Ctrl-C ends the command as Python ends it, after the run has ended."""
    ending = pytest.raises(KeyboardInterrupt) if number == signal.SIGINT else nullcontext()
    return run_with(monkeypatch, settings, Signalling(at_step, number), ending)


def run_with(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    callback: L.Callback,
    ending: AbstractContextManager[Any] = nullcontext(),  # noqa: B008
) -> L.Trainer:
    """Run with one more callback, which is called first."""
    built: list[L.Trainer] = []

    def build(*args: Any) -> L.Trainer:
        built.append(build_trainer(*args))
        built[0].callbacks.insert(0, callback)  # type: ignore[attr-defined]
        return built[0]

    with monkeypatch.context() as patched, ending:
        patched.setattr("bert_lightning.pretrain.build_trainer", build)
        run_here(settings)
    return built[0]


@pytest.mark.parametrize(
    ("number", "at_step", "stops_at"),
    [
        *((number, 6, 7) for number in (signal.SIGTERM, signal.SIGINT)),
        *(pytest.param(number, 6, 7, marks=pytest.mark.slow) for number in SIGNALS[2:]),
        (signal.SIGTERM, 4, 5),
    ],
)
def test_a_signal_stops_after_the_step_and_the_rest_is_the_same(
    base: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    at_step: int,
    stops_at: int,
) -> None:
    """A validation follows steps 5 and 10: after a signal in these steps the next launch makes it."""
    handlers = [signal.getsignal(each) for each in SIGNALS]
    settings = base | {"run_name": "part", "resume": "auto"}
    trainer = interrupt(monkeypatch, settings, at_step, number)
    assert trainer.global_step == stops_at
    assert [callback.preempted for callback in trainer.callbacks if isinstance(callback, Preemption)] == [True]
    checkpoints = tmp_path / "runs" / "part" / "checkpoints"
    assert (checkpoints / f"step-{stops_at:07d}.ckpt").is_file()
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    assert run_here(settings).global_step == 14
    run_here(base | {"run_name": "whole"})
    assert repeatable(tmp_path / "runs" / "part") == repeatable(tmp_path / "runs" / "whole")


@pytest.mark.parametrize(("at_step", "every"), [(5, 5), (5, 1000), (14, 5)])
def test_a_signal_cuts_a_validation_short_and_the_next_launch_makes_it(
    base: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at_step: int,
    every: int,
) -> None:
    """A checkpoint is due before it, or not; or all steps are made."""
    more = {"callbacks.checkpoint.every_n_steps": every, "callbacks.checkpoint.keep_best": "val/loss"}
    more |= {"data.validation_micro_batch_size": 4}
    settings = base | more | {"run_name": "part", "resume": "auto"}
    signalling = SignallingInValidation(at_step)
    trainer = run_with(monkeypatch, settings, signalling)
    assert (trainer.global_step, signalling.batches) == (at_step, 1)
    assert sum(trainer.num_val_batches) > 1
    assert "next:" not in capsys.readouterr().out
    run = tmp_path / "runs" / "part"
    assert (run / "checkpoints" / f"step-{at_step:07d}.ckpt").is_file()
    assert not any(name.startswith("val/") for name in repeatable(run).get(at_step, {}))
    assert run_here(settings).global_step == 14
    run_here(base | more | {"run_name": "whole"})
    assert repeatable(run) == repeatable(tmp_path / "runs" / "whole")
    best = [(tmp_path / "runs" / name / "checkpoints" / "best.json").read_text() for name in ("part", "whole")]
    assert best[0] == best[1]


def test_a_validation_that_is_made_up_for_is_cut_short_too(
    base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = base | {"run_name": "part", "resume": "auto", "data.validation_micro_batch_size": 4}
    for _ in range(2):
        assert run_with(monkeypatch, settings, SignallingInValidation(5)).global_step == 5
    assert run_here(settings).global_step == 14
    run_here(base | {"run_name": "whole", "data.validation_micro_batch_size": 4})
    assert repeatable(tmp_path / "runs" / "part") == repeatable(tmp_path / "runs" / "whole")


def test_a_signal_after_the_last_step_is_known_and_ends_no_run() -> None:
    """The seeds that would follow are left to the next launch."""
    callback: Any = Preemption()
    callback._flags = SharedFlags(len(SIGNALS) + 1)
    callback._own = {signal.SIGUSR1}
    trainer: Any = SimpleNamespace(callbacks=[callback], is_global_zero=True)
    assert not was_signaled(trainer)
    callback.on_train_end(trainer, None)
    assert was_signaled(trainer)
    assert not was_preempted(trainer)


def test_it_needs_something_that_saves(base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"needs callbacks.checkpoint"):
        interrupt(monkeypatch, base | {"~callbacks.checkpoint": None}, 2, signal.SIGTERM)


@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_still_being_written_is_waited_for_and_the_first_rank_says_that_it_is_saved(
    is_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The checkpoint of the step was due, and its save fails in the background."""
    saver = Saver()
    callback = Preemption()
    stopped: Any = SimpleNamespace(callbacks=[saver, callback], is_global_zero=is_first, loggers=[], global_step=4)
    callback._stop(stopped, {signal.SIGTERM})
    assert saver.calls == ["waited for", "saved as the last"]
    said = "told to stop: saved step 4; the same command with resume=auto continues from there"
    assert caplog.messages == ([said] if is_first else [])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("signaled", ["first", "second", "both"])
def test_all_ranks_stop_together(base: Settings, tmp_path: Path, strategy: str, signaled: str) -> None:
    settings = base | {"strategy": strategy, "trainer.devices": 2, "trainer.max_steps": 5000, "run_name": "a"}
    process = subprocess.Popen(
        command(settings),
        cwd=tmp_path,
        env=checkout_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    checkpoints = tmp_path / "runs" / "a" / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("step-*.ckpt")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    second = children(process.pid)[0]
    for number in {"first": [process.pid], "second": [second], "both": [process.pid, second]}[signaled]:
        os.kill(number, signal.SIGTERM)
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, output
    newest = sorted(checkpoints.glob("step-*.ckpt"))[-1]
    assert f"told to stop: saved step {int(newest.stem.split('-')[1])}" in output


def test_the_trainings_of_one_launch_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the seeds, points and tasks of a fine-tuning; a launch by itself has all of it again."""
    for name in ("leave_out_sigterm_broadcast", "let_validation_be_cut_short"):
        monkeypatch.setattr(preemption, name, lambda trainer: None)
    now = 0.0

    def begun() -> Preemption:
        callback = Preemption(max_time="00:00:00:10", clock=lambda: now)
        trainer: Any = SimpleNamespace(is_global_zero=True, received_sigterm=False)
        callback.on_train_start(trainer, trainer)
        callback._give_back()
        return callback

    with counted_as_one_launch():
        assert not begun()._time_is_up()
        now = 10.0
        assert begun()._time_is_up()
    assert not begun()._time_is_up()


def test_loggers_are_told_to_hurry_before_they_end(base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM ends the job soon, and it is queued again only after them."""
    told: list[str] = []
    monkeypatch.setattr(MetricsCsv, "hurry", lambda logger: told.append("hurry"), raising=False)
    monkeypatch.setattr(MetricsCsv, "finalize", lambda logger, status: told.append(status))
    interrupt(monkeypatch, base | {"run_name": "a"}, 6, signal.SIGUSR1)
    assert told == ["hurry", "success"]


def trainer_that_received(*numbers: signal.Signals, is_first: bool = True) -> Any:
    callback = Preemption()
    callback.received = set(numbers)
    return SimpleNamespace(callbacks=[callback], is_global_zero=is_first)


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scontrol that writes down what it was asked."""
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/asked\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "asked"


@pytest.mark.parametrize(
    ("numbers", "is_first", "environment", "asked"),
    [
        ([signal.SIGUSR1], True, {"SLURM_PROCID": "0", "SLURM_JOB_ID": "12"}, "requeue 12\n"),
        ([signal.SIGUSR1], False, {"SLURM_PROCID": "1", "SLURM_JOB_ID": "12"}, None),
        ([signal.SIGTERM], True, {"SLURM_PROCID": "0", "SLURM_JOB_ID": "12"}, None),
        ([signal.SIGUSR1], True, {}, None),
        ([], True, {"SLURM_PROCID": "0", "SLURM_JOB_ID": "12"}, None),
    ],
)
def test_only_the_warning_of_slurm_queues_the_job_again(
    scontrol: Path, numbers: list[signal.Signals], is_first: bool, environment: dict[str, str], asked: str | None
) -> None:
    hand_over(trainer_that_received(*numbers, is_first=is_first), environment)
    assert (scontrol.read_text() if scontrol.exists() else None) == asked


@pytest.mark.parametrize(
    ("numbers", "is_first", "environment", "status"),
    [
        ([signal.SIGTERM], True, TORCHRUN | {"LOCAL_RANK": "0"}, 75),
        ([signal.SIGTERM], False, TORCHRUN | {"LOCAL_RANK": "0"}, 75),
        ([signal.SIGTERM], False, TORCHRUN | {"LOCAL_RANK": "1"}, None),
        ([signal.SIGTERM], True, {"LOCAL_RANK": "0"}, None),
        ([signal.SIGINT, signal.SIGTERM], False, TORCHRUN | {"LOCAL_RANK": "0"}, None),
        ([signal.SIGUSR1], False, TORCHRUN | {"LOCAL_RANK": "0"}, None),
        ([], True, TORCHRUN | {"LOCAL_RANK": "0"}, None),
    ],
)
def test_no_node_of_torchrun_succeeds_if_another_one_is_evicted(
    numbers: list[signal.Signals], is_first: bool, environment: dict[str, str], status: int | None
) -> None:
    """One rank of each node says so, when it is done; after Ctrl-C nothing is to be started again."""
    with nullcontext() if status is None else pytest.raises(SystemExit) as ended:
        hand_over(trainer_that_received(*numbers, is_first=is_first), environment)
    assert (ended.value.code if ended is not None else None) == status


@pytest.mark.parametrize(("rank", "asked"), [("0", "requeue 12\n"), ("1", None)])
def test_a_warning_outside_of_the_training_queues_the_job_again_at_once(
    scontrol: Path, rank: str, asked: str | None
) -> None:
    """As between the seeds of a fine-tuning, where the signal would end the process."""
    with queued_again_when_warned({"SLURM_PROCID": rank, "SLURM_JOB_ID": "12"}):
        signal.raise_signal(signal.SIGUSR1)
    assert (scontrol.read_text() if scontrol.exists() else None) == asked
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    with queued_again_when_warned({}):
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_submitit_gets_its_signal_when_the_state_is_saved(scontrol: Path) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: got.append(number))
    hand_over(trainer_that_received(signal.SIGUSR2), {"SLURM_PROCID": "0", "SLURM_JOB_ID": "12"})
    signal.signal(signal.SIGUSR2, before)
    assert got == [signal.SIGUSR2]
    assert not scontrol.exists()


def test_examples() -> None:
    assert doctest.testmod(preemption).failed == 0


def test_a_job_of_a_sweep_is_told_by_a_file(base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is named by the environment; without it the run makes all its steps."""
    settings = base | {"trainer.max_steps": 6, "callbacks": "audit"}
    monkeypatch.setenv(stop_file.VARIABLE, str(tmp_path / ".stop"))
    monkeypatch.setattr(stop_file, "LOOK_SECONDS", 0.0)
    (tmp_path / ".stop").touch()
    trainer = run_here(settings)
    assert was_preempted(trainer)
    assert trainer.global_step == 1
    (tmp_path / ".stop").unlink()
    assert run_here(settings | {"resume": "auto"}).global_step == 6
