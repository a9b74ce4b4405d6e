"""SLURM by stand-ins for its commands that really run the array; Ray where it is installed."""

import os
import re
import stat
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
from hydra.utils import instantiate

from data_pipeline.preparation.cluster_executors import SlurmExecutor
from tests.support.checkout import ROOT, run_command
from tests.support.configs import compose_config
from tests.support.corpora import contents, write_corpus
from tests.support.tasks import append, end_itself, runs

SBATCH = """
import os, re, subprocess, sys, time
state = os.environ["FAKE_SLURM"]
script = open(sys.argv[-1]).read()
number = len(os.listdir(state)) + 1
job = os.path.join(state, str(number))
open(job, "w").write("running")
open(job + ".sh", "w").write(script)
print("Submitted batch job", number)
sys.stdout.flush()
offset = re.search(r"RUN_OFFSET=(\\d+)", " ".join(sys.argv)).group(1)
before = re.search(r"--dependency=afterany:(\\d+)", " ".join(sys.argv))
first, last = map(int, re.search(r"#SBATCH --array=(\\d+)-(\\d+)", script).groups())
output = re.search(r"#SBATCH --output=(.*)", script).group(1)
if os.fork():
    sys.exit()
os.setsid()
null = os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)
while before and open(os.path.join(state, before.group(1))).read() == "running":
    time.sleep(0.05)
for element in range(first, last + 1):
    own = {"SLURM_ARRAY_TASK_ID": str(element), "SLURM_NODELIST": "node[0-1]", "SLURM_JOB_ID": str(number)}
    with open(output.replace("%A", str(number)).replace("%a", str(element)), "w") as log:
        command = ["bash", job + ".sh"]
        subprocess.run(command, env={**os.environ, **own, "RUN_OFFSET": offset}, stdout=log, stderr=log)
open(job, "w").write("ended")
"""
SQUEUE = """
import os, sys
job = os.path.join(os.environ["FAKE_SLURM"], sys.argv[-1])
if os.path.exists(job) and open(job).read() == "running":
    print(sys.argv[-1], "R")
else:
    print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
    sys.exit(1)
"""
SCONTROL = "print('node0')"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the commands of SLURM on PATH; returns the folder of what they were given."""
    commands, state = tmp_path / "bin", tmp_path / "state"
    commands.mkdir()
    state.mkdir()
    for name, program in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scontrol", SCONTROL)):
        path = commands / name
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(program)}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return state


@pytest.mark.usefixtures("cluster")
def test_arguments_of_sbatch_are_settings() -> None:
    given = ["corpus=text", "corpus.path=x", "output_dir=y", "executor=slurm", "executor.partition=cpu"]
    cfg = compose_config("prepare", [*given, "executor.sbatch_args={account: nlp, constraint: cpu}"])
    assert instantiate(cfg.executor).settings["sbatch_args"] == {"account": "nlp", "constraint": "cpu"}


def executor(**extra: int) -> SlurmExecutor:
    return SlurmExecutor("cpu", "1:00", sbatch_args={"account": "nlp"}, poll_seconds=0.2, **extra)


def test_finished_tasks_are_not_run_again_and_failed_ones_are_named(cluster: Path, tmp_path: Path) -> None:
    done, log = tmp_path / "done", tmp_path / "log"
    done.mkdir()
    with pytest.raises(ChildProcessError) as failure:
        executor().run("trying", partial(append, done, 2), 4, log)
    said = str(failure.value)
    assert (
        "1 of 4 tasks of 'trying' did not finish on SLURM job 1: 2. Task 2: ValueError: task 2 is wrong Logs: " in said
    )
    assert "task 2 is wrong" in (log / "logs" / "task_00002.log").read_text()
    assert runs(done) == {"0": 1, "1": 1, "3": 1}
    executor().run("trying", partial(append, done, -1), 4, log)
    assert runs(done) == {"0": 1, "1": 1, "2": 1, "3": 1}
    submitted = len(list(cluster.iterdir()))
    executor().run("trying", partial(append, done, -1), 4, log)
    assert len(list(cluster.iterdir())) == submitted


def test_a_reason_of_an_earlier_run_is_not_told_again(cluster: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    (log / "errors").mkdir(parents=True)
    (log / "errors" / "00001").write_text("ValueError: of an earlier run")
    with pytest.raises(ChildProcessError, match=r"of 'trying' did not finish .*: 1\. No task left an error message\."):
        executor().run("trying", partial(end_itself, 1), 2, log)


def test_keys_reach_sbatch_and_large_jobs_become_several_arrays(cluster: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    chosen = executor(cpus_per_task=3, mem_per_cpu=5, workers=2, tasks_per_job=2, max_array_size=2)
    chosen.run("trying", partial(append, done, -1), 7, tmp_path / "log")
    assert runs(done) == {str(number): 1 for number in range(7)}
    scripts = [path.read_text() for path in cluster.glob("*.sh")]
    assert len(scripts) == 2
    for line in ("array=0-1%2", "cpus-per-task=3", "mem-per-cpu=5G", "partition=cpu", "time=1:00", "account=nlp"):
        assert f"#SBATCH --{line}\n" in scripts[0]


@pytest.mark.slow
def test_a_preparation_on_slurm_is_the_local_one_and_names_what_it_cannot_read(cluster: Path, tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text", files=4)
    arguments = [
        *("corpus=text", f"corpus.path={source}", "tokenizer.vocab_size=120", "validation_fraction=0.2"),
        *("group_bytes=4000", "shard_tokens=3000"),
    ]
    slurm = ["executor=slurm", "executor.partition=cpu", "executor.poll_seconds=0.2"]
    assert run_command("prepare", *arguments, f"output_dir={tmp_path / 'local'}", cwd=tmp_path).returncode == 0
    good = (source / "2.txt").read_bytes()
    (source / "2.txt").write_bytes(b"\xff\xfe")
    failed = run_command("prepare", *arguments, *slurm, "output_dir=slurm", cwd=tmp_path)
    assert failed.returncode == 2
    assert re.search(r"error: corpus text: .*2\.txt, line 1 is not UTF-8", failed.stderr)
    (source / "2.txt").write_bytes(good)
    done = run_command("prepare", *arguments, *slurm, "output_dir=slurm", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "slurm") == contents(tmp_path / "local")


def test_what_cannot_work_is_said_before_anything_is_submitted(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"executor\.cpus_per_task must be a whole number, at least 1, or null; got 0"):
        executor(cpus_per_task=0)
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ChildProcessError, match="sbatch refused the job of 'trying'"):
        executor().run("trying", partial(append, tmp_path, -1), 1, tmp_path / "log")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    with pytest.raises(ValueError, match="cannot submit from within an array job"):
        executor()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="executor=slurm needs sbatch, which is not on the PATH"):
        executor()


def test_ray_runs_the_same_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from data_pipeline.preparation.cluster_executors import RayExecutor

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done, log = tmp_path / "done", tmp_path / "log"
    done.mkdir()
    chosen = RayExecutor(address="local", mem_per_cpu=0.1)
    try:
        with pytest.raises(
            ChildProcessError, match=r"1 of 3 tasks of 'trying' did not finish on Ray: 1\. Task 1: ValueError"
        ):
            chosen.run("trying", partial(append, done, 1), 3, log)
        chosen.run("trying", partial(append, done, -1), 3, log)
        assert runs(done) == {"0": 1, "1": 1, "2": 1}
    finally:
        ray.shutdown()


def test_ray_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from data_pipeline.preparation.cluster_executors import RayExecutor

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"executor=ray needs the package ray: pip install 'bert-lightning\[ray\]'"):
        RayExecutor()
