"""On a real SLURM with two nodes: docker/slurm.sbatch trains and goes on after SIGUSR1; sweeps; preparations."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_lightning.settings.run_folder import RunFolder
from tests.runs.slurm import is_installed, show, two_nodes
from tests.support.checkout import ROOT, checkout_environment, run_command
from tests.support.corpora import contents, write_corpus
from tests.support.processes import wait_until
from tests.support.runs import assert_close, command, run_here, steps_made
from tests.support.settings import NO_DROPOUT, Settings, overrides

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_installed(), reason="needs slurm-wlm, munge and root")]


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, two_nodes(Path(folder)) as environment:
        yield environment


def test_a_job_over_two_nodes_is_queued_again_and_goes_on(
    base: Settings,
    tmp_path: Path,
    slurm: dict[str, str],
) -> None:
    """The same W&B run goes on: its id is in the folder."""
    settings = base | NO_DROPOUT | {"run_name": "a", "trainer.max_steps": 400, "schedule": "constant"}
    settings |= {"callbacks": "audit", "data.micro_batch_size": 16, "trainer.val_check_interval": 1000}
    settings |= {"callbacks.checkpoint.every_n_steps": 1000, "trainer.log_every_n_steps": 1}
    program = tmp_path / "bin" / "bert-pretrain"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m bert_lightning.pretrain "$@"\n')
    program.chmod(0o755)
    environment = slurm | checkout_environment() | {"SLURM_CONF": slurm["SLURM_CONF"], "WANDB_MODE": "offline"}
    environment["PATH"] = f"{program.parent}:{slurm['PATH']}"
    smaller = ["--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=0", "--cpus-per-task=1", "--time=10"]
    asked = ["sbatch", "--parsable", *smaller, "--output=job.log", str(ROOT / "docker" / "slurm.sbatch")]
    submitted = subprocess.run(
        [*asked, *overrides(settings | {"logger": "wandb"})],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert submitted.returncode == 0, submitted.stderr
    job, run_dir = submitted.stdout.strip(), tmp_path / "runs" / "a"
    wait_until(lambda: steps_made(run_dir) > 20 or show(slurm, job)["JobState"] not in ("PENDING", "RUNNING"))
    assert show(slurm, job)["JobState"] == "RUNNING", (tmp_path / "job.log").read_text()
    subprocess.run(["scancel", "--signal=USR1", job], env=slurm, check=True)
    wait_until(lambda: show(slurm, job)["Restarts"] == "1")
    (saved,) = (run_dir / "checkpoints").iterdir()
    assert 20 < int(saved.stem.removeprefix("step-")) < 400
    wait_until(lambda: show(slurm, job)["JobState"] == "COMPLETED")
    output = (tmp_path / "job.log").read_text()
    assert f"job {job} is queued again" in output
    assert f"2 x cpu, 32-true, 400 steps of 32 examples, continuing from {saved}" in output
    run_here(settings | {"run_name": "whole", "data.micro_batch_size": 32})
    assert (run_dir / "digests.txt").read_text() == (tmp_path / "runs" / "whole" / "digests.txt").read_text()
    assert_close(run_dir, tmp_path / "runs" / "whole", 1e-4)
    assert len(list((run_dir / "wandb").glob(f"offline-run-*-{RunFolder(run_dir).wandb_run()}"))) == 2


def test_a_sweep_runs_as_jobs_over_two_nodes(base: Settings, tmp_path: Path, slurm: dict[str, str]) -> None:
    pytest.importorskip("submitit")
    launcher = {"nodes": 2, "tasks_per_node": 1, "cpus_per_task": 1, "timeout_min": 5}
    settings = base | {"strategy": "ddp", "trainer.max_steps": 4, "optimizer.lr": "1e-3,2e-3", "resume": "auto"}
    settings |= {"hydra/launcher": "submitit_slurm"} | {
        f"hydra.launcher.{key}": value for key, value in launcher.items()
    }
    swept = overrides(settings | {"run_name": "lr"})
    done = subprocess.run(
        [sys.executable, "-m", "bert_lightning.pretrain", "--multirun", *swept],
        cwd=tmp_path,
        env=slurm | checkout_environment() | {"SLURM_CONF": slurm["SLURM_CONF"], "PATH": slurm["PATH"]},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    for rate in ("0.001", "0.002"):
        run_dir = tmp_path / "runs" / "lr" / f"optimizer.lr={rate}"
        assert (run_dir / "checkpoints" / "step-0000004.ckpt").is_file()
        assert "2 x cpu" in (run_dir / "run.log").read_text()


def test_a_search_runs_as_jobs(base: Settings, tmp_path: Path, slurm: dict[str, str]) -> None:
    """Four trials, two jobs at a time."""
    pytest.importorskip("submitit")
    launcher = {"nodes": 1, "tasks_per_node": 1, "cpus_per_task": 1, "timeout_min": 5}
    settings = base | {"trainer.max_steps": 6, "optimizer.lr": "tag(log,interval(1e-4,1e-2))", "run_name": "lr"}
    settings |= {"hydra/sweeper": "optuna", "hydra.sweeper.n_trials": 4, "hydra.sweeper.n_jobs": 2}
    settings |= {"hydra/launcher": "submitit_slurm"} | {f"hydra.launcher.{key}": each for key, each in launcher.items()}
    done = subprocess.run(
        [sys.executable, "-m", "bert_lightning.pretrain", "--multirun", *overrides(settings)],
        cwd=tmp_path,
        env=slurm | checkout_environment() | {"SLURM_CONF": slurm["SLURM_CONF"], "PATH": slurm["PATH"]},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "runs" / "lr" / "trials.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[str(number), "complete"] for number in range(4)]
    for number in range(4):
        assert (tmp_path / "runs" / "lr" / f"trial-{number:04d}" / "checkpoints" / "step-0000006.ckpt").is_file()
    jobs = subprocess.run(["scontrol", "show", "jobs"], env=slurm, capture_output=True, text=True).stdout
    assert jobs.count("JobName=pretrain") >= 4


def test_a_preparation_runs_as_array_jobs(
    tmp_path: Path, slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both nodes, to the same bytes as on one machine; the second run finds everything done."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm[name])
    source = write_corpus(tmp_path / "text", files=4)
    settings = ["corpus=text", f"corpus.path={source}", "tokenizer.vocab_size=120", "group_bytes=4000"]
    settings += ["validation_fraction=0.2", "shard_tokens=3000"]
    on_slurm = ["executor=slurm", "executor.partition=main", "executor.poll_seconds=0.5", "executor.mem_per_cpu=1"]
    for executor, output in (([], "local"), (on_slurm, "slurm"), (on_slurm, "slurm")):
        done = run_command("prepare", *settings, *executor, f"output_dir={output}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "slurm") == contents(tmp_path / "local")
    jobs = subprocess.run(["scontrol", "show", "jobs"], env=slurm, capture_output=True, text=True).stdout
    assert {"a0", "a1"} <= {word.removeprefix("NodeList=") for word in jobs.split() if word.startswith("NodeList=")}
    assert jobs.count("JobState=COMPLETED") == jobs.count("JobState=") > 4


@pytest.mark.parametrize(
    ("launch", "trains", "message"),
    [
        (["srun", "--ntasks=4"], True, "4 x cpu"),  # without --ntasks-per-node
        (["salloc", "--nodes=2", "--ntasks=4", "srun", "--ntasks=2", "--nodes=1"], True, "2 x cpu"),
        (["salloc", "--nodes=1", "--ntasks=2"], True, "SLURM_NTASKS=2 .*, but srun has not started this process"),
        (["srun", "--nodes=2", "--ntasks=3"], False, "not equally many on each .SLURM_STEP_TASKS_PER_NODE=2,1."),
        (["salloc", "--nodes=2", "--ntasks=4"], False, "SLURM_NNODES=2 .*put srun before the command"),
    ],
)
def test_only_srun_starts_tasks(
    base: Settings, tmp_path: Path, slurm: dict[str, str], launch: list[str], trains: bool, message: str
) -> None:
    settings = base | {"strategy": "ddp", "trainer.max_steps": 2, "data.micro_batch_size": 8, "run_name": "a"}
    done = subprocess.run(
        [*launch, *command(settings)],
        cwd=tmp_path,
        env=slurm | checkout_environment() | {"SLURM_CONF": slurm["SLURM_CONF"], "PATH": slurm["PATH"]},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert re.search(message, done.stdout + done.stderr), done.stderr
    assert (tmp_path / "runs" / "a" / "checkpoints").exists() == trains
