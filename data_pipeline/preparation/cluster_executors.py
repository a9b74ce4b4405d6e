"""Executors on a cluster: array jobs of SLURM or actors of Ray, with datatrove's executors.

All machines must see the output folder and have the package installed. `run` waits until the tasks have ended, so the
stages of a preparation run one after another, as on one machine. Finished tasks are kept if others fail.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from loguru import logger

from data_pipeline.preparation.executors import Step, progress
from data_pipeline.untrusted.internals import check_internal
from data_pipeline.whole_numbers import check_whole_number, number_of

_LAUNCHER = "launch_pickled_pipeline"
_SHOWN = 10


class SlurmExecutor:
    """Executor on array jobs of SLURM.

    Args:
        partition: Partition of the jobs.
        time: Time limit of one array element, as sbatch takes it, e.g. "4:00:00".
        cpus_per_task: Cores of a task; the tokenizer uses all of them for words that it has not met.
        mem_per_cpu: Memory for each core, in GB.
        workers: Most tasks that run at the same time; None for no limit.
        tasks_per_job: Tasks that one array element runs, one after another; raise it for thousands of tasks.
        max_array_size: Most elements of an array on this cluster; more elements are submitted as several arrays.
        env_command: Shell command that makes Python and the package available; None if the environment of the
            submitting shell does.
        sbatch_args: More arguments of sbatch by their long names, e.g. {account: nlp}.
        poll_seconds: Seconds between two looks at the queue.
    """

    def __init__(
        self,
        partition: str,
        time: str,
        cpus_per_task: int = 1,
        mem_per_cpu: int = 4,
        workers: int | None = None,
        tasks_per_job: int = 1,
        max_array_size: int = 1001,
        env_command: str | None = None,
        sbatch_args: Mapping[str, Any] | None = None,
        poll_seconds: float = 10.0,
    ) -> None:
        counts = {"cpus_per_task": cpus_per_task, "mem_per_cpu": mem_per_cpu, "workers": workers}
        _check_counts({**counts, "tasks_per_job": tasks_per_job, "max_array_size": max_array_size})
        for command in ("sbatch", "squeue"):
            if shutil.which(command) is None:
                raise ValueError(f"executor=slurm needs {command}, which is not on the PATH of this machine")
        if "SLURM_ARRAY_TASK_ID" in os.environ:
            raise ValueError("executor=slurm cannot submit from within an array job; start bert-prepare outside of it")
        self.cpus_per_task = cpus_per_task
        self.poll_seconds = poll_seconds
        self.settings = {
            "partition": partition,
            "time": str(time),
            "cpus_per_task": cpus_per_task,
            "mem_per_cpu_gb": mem_per_cpu,
            "workers": workers or -1,
            "tasks_per_job": tasks_per_job,
            "max_array_size": max_array_size,
            "env_command": env_command,
            "sbatch_args": dict(sbatch_args or {}),
            "qos": None,
            "with_srun": False,
        }

    def run(self, name: str, task: Callable[[int], None], num_tasks: int, folder: Path) -> None:
        """Submit the unfinished tasks and wait; ChildProcessError names failed tasks and their logs."""
        logger.disable("datatrove")
        folder = _without_errors(folder.resolve())
        job = _SlurmJob(
            [Step(task, self.cpus_per_task, folder / "errors")],
            tasks=num_tasks,
            job_name=f"bert-prepare-{name.replace(' ', '-')}",
            logging_dir=str(folder),
            **self.settings,
        )
        try:
            job.run()
        except subprocess.CalledProcessError as error:
            raise ChildProcessError(f"sbatch refused the job of {name!r}: {folder / 'launch_script.slurm'}") from error
        with progress(name, num_tasks, folder / "completions"):
            try:
                while _unfinished(folder, num_tasks) and _is_queued(job.job_id):
                    time.sleep(self.poll_seconds)
            except KeyboardInterrupt:
                subprocess.run(["scancel", str(job.job_id)], check=False)
                raise
        _check_finished(name, num_tasks, folder, f"SLURM job {job.job_id}", patience=2 * self.poll_seconds)


class _SlurmJob(SlurmPipelineExecutor):
    """datatrove's job, run by the Python that submits it, without a second job that merges statistics."""

    for _name in ("launch_merge_stats", "get_launch_file_contents"):
        check_internal(SlurmPipelineExecutor, _name, "datatrove 0.10.1")

    def launch_merge_stats(self) -> None:
        pass

    def get_launch_file_contents(self, sbatch_args: dict[str, Any], run_script: str) -> str:
        python = f"{shlex.quote(sys.executable)} -m datatrove.tools.{_LAUNCHER}"
        content: str = super().get_launch_file_contents(sbatch_args, run_script.replace(_LAUNCHER, python, 1))
        return content


class RayExecutor:
    """Executor on a Ray cluster.

    Args:
        address: Address of the cluster; None for RAY_ADDRESS or, if it is not set, a cluster on this machine alone.
        cpus_per_task: Cores reserved for a task.
        mem_per_cpu: Memory reserved for each core, in GB.
        workers: Most tasks that run at the same time; None for no limit.
        time: Time limit of one task, in seconds; None for no limit.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus_per_task: int = 1,
        mem_per_cpu: float = 2,
        workers: int | None = None,
        time: int | None = None,
    ) -> None:
        _check_counts({"cpus_per_task": cpus_per_task, "workers": workers, "time": time})
        try:
            import ray
        except ImportError as error:
            raise ValueError("executor=ray needs the package ray: pip install 'bert-lightning[ray]'") from error
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False)
        self.cpus_per_task = cpus_per_task
        self.settings = {
            "cpus_per_task": cpus_per_task,
            "mem_per_cpu_gb": mem_per_cpu,
            "workers": workers or -1,
            "time": time,
        }

    def run(self, name: str, task: Callable[[int], None], num_tasks: int, folder: Path) -> None:
        """Run the unfinished tasks; ChildProcessError names failed tasks and their logs."""
        logger.disable("datatrove")
        folder = _without_errors(folder.resolve())
        step = Step(task, self.cpus_per_task, folder / "errors")
        job = RayPipelineExecutor([step], tasks=num_tasks, logging_dir=str(folder), **self.settings)
        with progress(name, num_tasks, folder / "completions"):
            job.run()
        _check_finished(name, num_tasks, folder, "Ray", patience=0)


def _check_counts(values: Mapping[str, int | None]) -> None:
    for name, value in values.items():
        check_whole_number(f"executor.{name}", value, or_null=True)


def _without_errors(folder: Path) -> Path:
    """Return the folder of a stage without the error messages of an earlier run."""
    shutil.rmtree(folder / "errors", ignore_errors=True)
    return folder


def _unfinished(folder: Path, num_tasks: int) -> list[int]:
    done = {path.name for path in (folder / "completions").glob("*")}
    return [number for number in range(num_tasks) if f"{number:05d}" not in done]


def _is_queued(job_id: str) -> bool:
    """Return whether SLURM still has elements of a job; if SLURM does not answer, True."""
    asked = subprocess.run(["squeue", "--noheader", "--jobs", str(job_id)], capture_output=True, text=True)
    if asked.returncode == 0:
        return bool(asked.stdout.strip())
    return "Invalid job id" not in asked.stderr


def _check_finished(name: str, num_tasks: int, folder: Path, where: str, patience: float) -> None:
    """Raise if tasks are unfinished; the check is patient, because a network file system may show files late."""
    deadline = time.monotonic() + patience
    while (failed := _unfinished(folder, num_tasks)) and time.monotonic() < deadline:
        time.sleep(0.5)
    if failed:
        numbers = ", ".join(map(str, failed[:_SHOWN])) + (", ..." if len(failed) > _SHOWN else "")
        reasons = [(folder / "errors" / f"{number:05d}", number) for number in failed]
        said = [f" Task {number}: {path.read_text(encoding='utf-8')}" for path, number in reasons if path.is_file()]
        raise ChildProcessError(
            f"{len(failed)} of {number_of(num_tasks, 'task')} of {name!r} did not finish on {where}: {numbers}."
            f"{said[0] if said else ' No task left an error message.'} "
            f"Logs: {folder / 'logs' / f'task_{failed[0]:05d}.log'} and {folder / 'slurm_logs'}. "
            "Finished tasks are kept; the same command continues with the others"
        )
