"""bert-pretrain --multirun: every point has its own folder, log and W&B run, and its end is its own."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.run_folder import RunFolder
from tests.support.checkout import checkout_environment
from tests.support.processes import wait_until
from tests.support.runs import steps_made, wandb_config
from tests.support.settings import Settings, overrides
from tests.support.warm_start import run_module

NO_GUESSES = {"~callbacks.guesses": ""}


def command_of(settings: Settings) -> list[str]:
    words = [word.removesuffix("=") if word[0] == "~" else word for word in overrides(settings)]
    return [sys.executable, "-m", "bert_lightning.pretrain", "--multirun", *words]


def sweep(settings: Settings, folder: Path) -> subprocess.CompletedProcess[str]:
    _, _, module, *arguments = command_of(settings)
    return run_module(module, arguments, folder, checkout_environment(COLUMNS="200", WANDB_MODE="offline"))


def table(output: str) -> dict[str, list[str]]:
    """Cells of the table at the end, by the point."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


def contents(folder: Path) -> dict[Path, bytes]:
    """Bytes of the files of a run, without the logs of wandb's service, which may outlive the command by a moment."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if "logs" not in path.parts}


@pytest.mark.slow
def test_points_do_not_mix_and_a_failure_is_its_own(base: Settings, tmp_path: Path) -> None:
    """The same line with resume=auto leaves out what is finished and goes on with what is not."""
    settings = (
        base | NO_GUESSES | {"optimizer.lr": "1e-3,-1,2e-3", "logger": "wandb", "run_name": "lr", "resume": "auto"}
    )
    done = sweep(settings, tmp_path)
    assert done.returncode == 1, done.stderr
    first, wrong, second = (tmp_path / "runs" / "lr" / f"optimizer.lr={rate}" for rate in ("0.001", "-1", "0.002"))
    rows = table(done.stdout)
    losses = {folder: read_columns(folder / "metrics.csv")["val/loss"][1] for folder in (first, second)}
    for folder, rate in ((first, 0.001), (second, 0.002)):
        shown = [f"{losses[folder][-1]:.4f}", f"{min(losses[folder]):.4f}"]
        assert rows[f"optimizer.lr={rate}"] == ["finished", "14", *shown, str(folder)]
        assert wandb_config(folder)["optimizer"]["lr"] == rate
        assert wandb_config(folder)["run_name"] == f"lr/optimizer.lr={rate}"
        log = (folder / "run.log").read_text()
        assert log.count("from the start") == 1
        assert f"lr/optimizer.lr={rate}: " in log
    assert losses[first] != losses[second]
    assert len({RunFolder(folder).wandb_run() for folder in (first, second)}) == 2
    assert rows["optimizer.lr=-1"] == ["failed", "0", "-", "-", str(wrong)]
    assert done.stderr.endswith("error: Invalid learning rate: -1\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert "optimizer.lr=-1 failed: Invalid learning rate: -1\n" in done.stdout
    assert not wrong.exists()

    before = contents(first)
    (second / "checkpoints" / "step-0000014.ckpt").unlink()
    again = sweep(settings, tmp_path)
    assert again.returncode == 1
    assert contents(first) == before
    statuses = {point: row[0] for point, row in table(again.stdout).items()}
    assert statuses == {
        "optimizer.lr=0.001": "was finished",
        "optimizer.lr=-1": "failed",
        "optimizer.lr=0.002": "finished",
    }
    assert "continuing from" in (second / "run.log").read_text()
    assert read_columns(second / "metrics.csv")["val/loss"][1] == losses[second]
    assert len(list((second / "wandb").glob(f"offline-run-*-{RunFolder(second).wandb_run()}"))) == 2


@pytest.mark.slow
def test_points_finished_with_other_settings_are_not_taken_for_the_ones_asked_for(
    base: Settings, tmp_path: Path
) -> None:
    settings = base | NO_GUESSES | {"optimizer.lr": "1e-3,2e-3", "resume": "auto", "hydra/launcher": "basic"}
    assert sweep(settings, tmp_path).returncode == 0
    done = sweep(settings | {"optimizer.weight_decay": 0.3}, tmp_path)
    assert [row[0] for row in table(done.stdout).values()] == ["was finished otherwise"] * 2, done.stderr
    assert done.stdout.count("optimizer.weight_decay was 0.01, is 0.3: no effect on a finished run") == 2


def test_points_in_one_process_do_not_mix_either(base: Settings, tmp_path: Path) -> None:
    settings = base | NO_GUESSES | {"optimizer.lr": "1e-3,-1,2e-3", "logger": "wandb", "hydra/launcher": "basic"}
    done = sweep(settings, tmp_path)
    assert done.returncode == 1, done.stderr
    statuses = {point: row[0] for point, row in table(done.stdout).items()}
    assert statuses == {"optimizer.lr=0.001": "finished", "optimizer.lr=-1": "failed", "optimizer.lr=0.002": "finished"}
    folders = [tmp_path / "runs" / "bert" / f"optimizer.lr={rate}" for rate in ("0.001", "0.002")]
    assert [wandb_config(folder)["optimizer"]["lr"] for folder in folders] == [0.001, 0.002]
    assert [(folder / "run.log").read_text().count("from the start") for folder in folders] == [1, 1]
    assert "Traceback" not in done.stderr


def test_an_interrupted_sweep_saves_its_point_and_starts_no_other(base: Settings, tmp_path: Path) -> None:
    settings = base | {
        "seed": "1,2",
        "trainer.max_steps": 100000,
        "callbacks": "audit",
        "trainer.val_check_interval": 100000,
    }
    settings |= {"callbacks.checkpoint.every_n_steps": 100000}
    process = subprocess.Popen(
        command_of(settings),
        cwd=tmp_path,
        env=checkout_environment(COLUMNS="200"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first = tmp_path / "runs" / "bert" / "seed=1"
    try:
        wait_until(lambda: steps_made(first) > 3, process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, errors
    (saved,) = RunFolder(first).saved()
    rows = table(output)
    assert rows["seed=1"][:2] == ["stopped", str(int(saved.stem.removeprefix("step-")))]
    assert rows["seed=2"][:2] == ["not started", "0"]
    assert not (tmp_path / "runs" / "bert" / "seed=2").exists()


@pytest.mark.slow
def test_lightning_starts_the_ranks_of_a_point_with_its_settings(base: Settings, tmp_path: Path) -> None:
    settings = base | NO_GUESSES | {"optimizer.lr": "1e-3,2e-3", "strategy": "ddp", "trainer.devices": 2}
    done = sweep(settings, tmp_path)
    assert done.returncode == 0, done.stderr
    for rate in ("0.001", "0.002"):
        folder = tmp_path / "runs" / "bert" / f"optimizer.lr={rate}"
        assert "2 x cpu" in (folder / "run.log").read_text()
        assert max(read_columns(folder / "metrics.csv")["optim/lr"][1]) == pytest.approx(float(rate), rel=0.2)


@pytest.mark.slow
def test_points_as_jobs_of_submitit(base: Settings, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    settings = base | NO_GUESSES | {"optimizer.lr": "1e-3,-1", "hydra/launcher": "submitit_local"}
    done = sweep(settings | {"hydra.launcher.timeout_min": 5}, tmp_path)
    assert done.returncode == 1, done.stderr
    rows = table(done.stdout)
    assert rows["optimizer.lr=0.001"][:2] == ["finished", "14"]
    assert rows["optimizer.lr=-1"][0] == "failed"
    assert "optimizer.lr=-1 failed: Invalid learning rate: -1\n" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("sweeper", ["points", "ablation"])
def test_a_terminal_that_ends_jobs_of_submitit_has_them_save(
    base: Settings, tmp_path: Path, sweeper: str, number: signal.Signals, status: int
) -> None:
    """Ctrl-C and a lost terminal come to all processes; two runs train at a time."""
    pytest.importorskip("submitit")
    endless = {"trainer.max_steps": 100000, "callbacks": "audit", "trainer.val_check_interval": 100000}
    settings = base | endless | {"callbacks.checkpoint.every_n_steps": 100000, "hydra/launcher": "submitit_local"}
    settings |= (
        {"resume": "auto", "optimizer.lr": "1e-3,2e-3"}
        if sweeper == "points"
        else {
            "hydra/sweeper": "ablation",
            "hydra.sweeper.seeds": 1,
            "hydra.sweeper.variants": "{low:{optimizer.lr:1e-3},high:{optimizer.lr:2e-3}}",
        }
    )
    log = (tmp_path / "sweep.log").open("w")
    process = subprocess.Popen(
        command_of(settings), cwd=tmp_path, env=checkout_environment(), stdout=log, stderr=log, start_new_session=True
    )
    folder = tmp_path / "runs" / "bert"
    names = ["optimizer.lr=0.001", "optimizer.lr=0.002"] if sweeper == "points" else ["low/seed-0", "high/seed-0"]
    try:
        wait_until(lambda: all(steps_made(folder / name) > 3 for name in names), process)  # type: ignore[arg-type]
        os.killpg(process.pid, number)
        assert process.wait(120) == status, (tmp_path / "sweep.log").read_text()
        for name in names:
            assert len(RunFolder(folder / name).saved()) == 1
            assert "told to stop: saved step" in (folder / name / "run.log").read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_a_sweep_is_started_once(
    base: Settings, tmp_path: Path, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = {"torchrun": {"TORCHELASTIC_RUN_ID": "x"}, "srun": {"SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}}[launcher]
    for name, value in (started | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}).items():
        monkeypatch.setenv(name, value)
    done = sweep(base | {"seed": "1,2"}, tmp_path)
    assert done.returncode == 2
    assert "error: --multirun was started by torchrun or srun, so every process would run it all" in done.stderr
    assert not (tmp_path / "runs").exists()
