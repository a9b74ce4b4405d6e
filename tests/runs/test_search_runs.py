"""bert-pretrain --multirun hydra/sweeper=optuna with real runs: killed, continued, pruned, several at a time."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bert_lightning.settings.run_folder import RunFolder
from tests.support.checkout import checkout_environment
from tests.support.processes import wait_until
from tests.support.settings import Settings, overrides

pytestmark = pytest.mark.slow
SEARCH: Settings = {
    "hydra/sweeper": "optuna",
    "hydra.sweeper.pruner.n_startup_trials": 2,
    "hydra.sweeper.pruner.n_min_trials": 1,
    "hydra.sweeper.enqueue": "[{optimizer.lr: 1e-3, model.num_attention_heads: 3}]",
    "optimizer.lr": "tag(log,interval(1e-5,1e-1))",
    "model.num_attention_heads": "1,2,4,8,3",
    "run_name": "search",
    "trainer.max_steps": 60,
    "callbacks.guesses": None,
}
AT_A_TIME: Settings = {
    "hydra/launcher": "submitit_local",
    "hydra.launcher.timeout_min": 10,
    "hydra.sweeper.n_jobs": 2,
}


def start(settings: Settings, folder: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "bert_lightning.pretrain", "--multirun", *overrides(settings)]
    log = (folder / "search.log").open("a")
    environment = checkout_environment(COLUMNS="200")
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
    )


def trials(folder: Path) -> list[dict[str, str]]:
    path = folder / "trials.csv"
    with suppress(FileNotFoundError), path.open() as file:
        return list(csv.DictReader(file))
    return []


def training(folder: Path) -> list[Path]:
    """Folders of trials that have saved in the middle."""
    running = (Path(row["run_dir"]) for row in trials(folder) if row["state"] == "running")
    return [path for path in running if RunFolder(path).saved() and not (path / "report.html").exists()]


@pytest.mark.parametrize(("at_a_time", "number"), [(1, 12), (2, 5)])
def test_a_search_that_is_killed_in_a_trial_goes_on_with_it(
    base: Settings, tmp_path: Path, at_a_time: int, number: int
) -> None:
    """kill -9 to all of its processes; the same line makes the search whole, with no folder used twice."""
    settings = base | SEARCH | (AT_A_TIME if at_a_time == 2 else {}) | {"hydra.sweeper.n_trials": number}
    folder = tmp_path / "runs" / "search"
    process = start(settings, tmp_path)
    wait_until(lambda: bool(training(folder)), process, seconds=300, poll=0.05)
    killed = training(folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert killed, (tmp_path / "search.log").read_text()
    saved = [RunFolder(path).saved()[-1] for path in killed]

    process = start(settings, tmp_path)
    assert process.wait(900) == 0, (tmp_path / "search.log").read_text()
    rows = trials(folder)
    assert [int(row["number"]) for row in rows] == list(range(number))
    assert len({row["run_dir"] for row in rows}) == number
    states = {row["state"] for row in rows}
    assert states - {"pruned"} == {"complete", "failed"}
    assert "pruned" in states or number < 12
    assert all((row["state"] == "failed") == (row["model.num_attention_heads"] == "3") for row in rows)
    for path, checkpoint in zip(killed, saved, strict=True):
        log = (path / "run.log").read_text()
        assert f"continuing from {checkpoint}" in log
        assert log.count("from the start") == 1
    others = [Path(row["run_dir"]) for row in rows if Path(row["run_dir"]) not in killed and row["state"] != "failed"]
    assert all((path / "run.log").read_text().count("from the start") <= 1 for path in others)
    best = min((row for row in rows if row["state"] == "complete"), key=lambda row: float(row["value"]))
    assert (folder / "best.yaml").read_text().startswith(f"# Trial {best['number']} of the search")
    page = (folder / "report.html").read_text()
    assert "num_attention_heads=3" in page
    assert f"optimizer.lr={best['optimizer.lr']}" in page


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_ctrl_c_of_a_terminal_saves_the_trials(base: Settings, tmp_path: Path, at_a_time: int) -> None:
    """A terminal sends it to all processes of the search."""
    settings = (
        base | SEARCH | {"trainer.max_steps": 100000, "hydra.sweeper.enqueue": "[]", "hydra.sweeper.pruner": None}
    )
    settings |= {"model.num_attention_heads": 2, "trainer.val_check_interval": 100000}
    settings |= AT_A_TIME if at_a_time == 2 else {}
    folder = tmp_path / "runs" / "search"
    process = start(settings, tmp_path)
    wait_until(lambda: len(training(folder)) == at_a_time, process, seconds=300, poll=0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(180) == 130, (tmp_path / "search.log").read_text()
    time.sleep(1.0)
    rows = trials(folder)
    assert [row["state"] for row in rows] == ["stopped"] * at_a_time
    for row in rows:
        log = (Path(row["run_dir"]) / "run.log").read_text()
        assert "told to stop: saved step" in log


def test_an_orphan_is_waited_for(base: Settings, tmp_path: Path) -> None:
    """Only the command is killed; the trial that it has started trains on, and is not started a second time."""
    settings = base | SEARCH | {"hydra.sweeper.n_trials": 1, "trainer.max_steps": 200}
    settings |= {"hydra.sweeper.enqueue": None, "model.num_attention_heads": 2}
    folder = tmp_path / "runs" / "search"
    process = start(settings, tmp_path)
    wait_until(lambda: bool(training(folder)), process, seconds=300, poll=0.05)
    process.kill()
    process.wait()
    again = start(settings, tmp_path)
    assert again.wait(600) == 0, (tmp_path / "search.log").read_text()
    assert [row["state"] for row in trials(folder)] == ["complete"]
    assert (folder / "trial-0000" / "run.log").read_text().count("M parameters") == 1
