"""Ctrl-C, the end of a job, of the time and of memory, in real processes: saved, said in a line, and gone on with."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.pretrain import build_trainer
from tests.support.checkout import checkout_environment, torchrun
from tests.support.processes import children, ends, runs, wait_until
from tests.support.runs import command, repeatable, run_here, steps_made
from tests.support.settings import Settings

AUDITED: Settings = {"callbacks": "audit", "data.num_workers": 1, "trainer.val_check_interval": 1, "run_name": "a"}
"""A digest of every step, and loader processes for training and for a validation after every step."""
ENDLESS = 100_000


def aborted(process: subprocess.Popen[str]) -> str:
    """End a process and those that it started, and return what they have said and where they were."""
    for pid in [*children(process.pid), process.pid]:
        os.kill(pid, signal.SIGABRT)
    return process.communicate()[0]


@contextmanager
def started(settings: Settings, folder: Path, launcher: Sequence[str] = ("-m",)) -> Iterator[subprocess.Popen[str]]:
    """Start a run in a process group of its own, wait for a few steps, and leave nothing of it behind."""
    process = subprocess.Popen(
        command(settings, launcher),
        cwd=folder,
        env=checkout_environment(TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1", PYTHONFAULTHANDLER="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    started_by_it: list[int] = []
    try:
        wait_until(lambda: steps_made(folder / "runs" / "a") > 2, process, poll=0.05, said=lambda: aborted(process))
        assert process.poll() is None, process.communicate()[0]
        started_by_it += children(process.pid)
        yield process
    finally:
        for pid in [process.pid, *started_by_it]:
            if runs(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_to_every_process_saves_and_says_how_to_go_on(
    base: Settings, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """As a terminal, `timeout`, systemd and scancel send it."""
    settings = base | AUDITED | {"trainer.max_steps": ENDLESS, "resume": "auto"}
    with started(settings, tmp_path) as process:
        os.killpg(process.pid, number)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == status, output
    assert "Traceback" not in output
    said = re.search(r"told to stop: saved step (\d+); the same command with resume=auto continues", output)
    assert said is not None, output
    assert [path.stem for path in (tmp_path / "runs" / "a" / "checkpoints").iterdir()] == [f"step-{int(said[1]):07d}"]
    trainer = run_here(settings | {"trainer.max_steps": int(said[1]) + 1})
    assert trainer.global_step == int(said[1]) + 1
    assert steps_made(tmp_path / "runs" / "a") == int(said[1]) + 1
    assert len(read_columns(tmp_path / "runs" / "a" / "metrics.csv")["val/loss"][0]) == int(said[1]) + 1


@pytest.mark.parametrize("launcher", ["lightning", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_ctrl_c_ends_all_ranks_after_the_same_step(base: Settings, tmp_path: Path, launcher: str) -> None:
    """The clock of the first rank asks for a checkpoint all the time; ranks that disagreed would wait for ever."""
    settings = base | AUDITED | {"strategy": "ddp", "trainer.max_steps": ENDLESS, "trainer.val_check_interval": 1000}
    settings |= {"callbacks.checkpoint.every_minutes": 1e-6, "callbacks.checkpoint.every_n_steps": ENDLESS}
    settings |= {"callbacks.checkpoint.keep_last": None}
    if launcher == "lightning":
        settings["trainer.devices"] = 2
    with started(settings, tmp_path, torchrun(2) if launcher == "torchrun" else ("-m",)) as process:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == (130 if launcher == "lightning" else 1), output
    assert len(re.findall(r"interrupted: the run finishes", output)) == 1
    said = re.search(r"told to stop: saved step (\d+)", output)
    assert said is not None, output
    saved = sorted(path.stem for path in (tmp_path / "runs" / "a" / "checkpoints").iterdir())
    assert saved[-1] == f"step-{int(said[1]):07d}"
    assert len(saved) > 1
    assert launcher == "torchrun" or "Traceback" not in output


WAITING = """
import signal, time
from bert_lightning.callbacks.preemption import Preemption
preemption = Preemption()
preemption._speaks = True
signal.signal(signal.SIGINT, preemption._note)
print("ready", flush=True)
time.sleep(600)
"""


def test_the_second_ctrl_c_ends_at_once() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        env=checkout_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline().startswith("interrupted: the run finishes its step, saves and ends; Ctrl-C")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()


def test_ctrl_c_before_the_first_step_is_one_line(base: Settings, tmp_path: Path) -> None:
    program = "import os, signal\nfrom bert_lightning.settings.cli import entry_point\nmain = entry_point('pretrain', "
    program += "lambda cfg: os.kill(os.getpid(), signal.SIGINT))\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=checkout_environment(), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def kill_newest_child(process: subprocess.Popen[str]) -> bool:
    """Kill a loader process; returns False, because the one may have delivered all it had."""
    with suppress(OSError, IndexError):
        os.kill(children(process.pid)[-1], signal.SIGKILL)
    return False


@pytest.mark.parametrize("during", ["training", "validation"])
def test_a_loader_process_that_the_kernel_kills_is_one_line(base: Settings, tmp_path: Path, during: str) -> None:
    steps = 1 if during == "validation" else ENDLESS
    settings = base | AUDITED | {"trainer.max_steps": ENDLESS, "trainer.val_check_interval": steps}
    with started(settings, tmp_path) as process:
        wait_until(lambda: kill_newest_child(process), process, poll=0.1)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(r"a process that loads batches was lost \(process \d+.*lower data.num_workers", errors[0])
    assert "Traceback" not in output


def test_the_end_of_the_time_saves_and_the_next_launch_has_its_own(
    base: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = base | {"run_name": "part", "resume": "auto"}
    for step in (1, 2):
        assert run_here(settings | {"trainer.max_time": "00:00:00:00"}).global_step == step
        said = f"trainer.max_time=00:00:00:00 is over: saved step {step}; the same command with resume=auto continues"
        assert said in caplog.text
        assert (tmp_path / "runs" / "part" / "checkpoints" / f"step-{step:07d}.ckpt").is_file()
    assert run_here(settings).global_step == 14
    run_here(base | {"run_name": "whole"})
    assert repeatable(tmp_path / "runs" / "part") == repeatable(tmp_path / "runs" / "whole")


def test_a_time_that_is_none_is_named(base: Settings) -> None:
    with pytest.raises(Exception, match=r"trainer.max_time must be DD:HH:MM:SS.*got 8h"):
        run_here(base | {"trainer.max_time": "8h"})


class Crashing(L.Callback):
    """Fail in the first validation."""

    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        raise ZeroDivisionError(trainer.global_step)


def test_a_crash_in_the_validation_does_not_lose_the_checkpoint(
    base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next launch makes up for the validation, so its metrics are those of a run without a crash."""

    def build(*args: Any) -> L.Trainer:
        trainer: Any = build_trainer(*args)
        trainer.callbacks.insert(0, Crashing())
        return trainer

    settings = base | {"run_name": "part", "resume": "auto", "callbacks.checkpoint.keep_best": "val/loss"}
    with monkeypatch.context() as patched:
        patched.setattr("bert_lightning.pretrain.build_trainer", build)
        with pytest.raises(ZeroDivisionError, match="5"):
            run_here(settings)
    assert (tmp_path / "runs" / "part" / "checkpoints" / "step-0000005.ckpt").is_file()
    assert run_here(settings).global_step == 14
    run_here(base | {"run_name": "whole", "callbacks.checkpoint.keep_best": "val/loss"})
    assert repeatable(tmp_path / "runs" / "part") == repeatable(tmp_path / "runs" / "whole")
    part, whole = (tmp_path / "runs" / name / "checkpoints" for name in ("part", "whole"))
    assert [path.name for path in sorted(part.iterdir())] == [path.name for path in sorted(whole.iterdir())]


@pytest.mark.slow
def test_ranks_end_with_a_torchrun_that_is_killed(base: Settings, tmp_path: Path) -> None:
    settings = base | AUDITED | {"strategy": "ddp", "trainer.max_steps": ENDLESS, "trainer.val_check_interval": ENDLESS}
    with started(settings, tmp_path, torchrun(2)) as process:
        ranks = children(process.pid)
        loaders = [pid for rank in ranks for pid in children(rank)]
        process.kill()
        for pid in (*ranks, *loaders):
            assert ends(pid, 120)
    assert list((tmp_path / "runs" / "a" / "checkpoints").glob("step-*.ckpt"))
