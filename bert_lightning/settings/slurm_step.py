"""SLURM's variables: which are of a task that srun has started, and which a shell, an editor or a notebook inherits.

A batch script, and a shell of salloc, have SLURM_NTASKS and SLURM_PROCID of the allocation, but nothing of a step. A
shell of `srun --pty` is a step of its own; with several tasks it is the only one that has a terminal. (`man srun`,
"Output environment variables".)
"""

import os
from collections.abc import Mapping

GPU_OF_A_TASK = ("SLURM_GPUS_PER_TASK", "SLURM_NTASKS_PER_GPU", "SLURM_TRES_PER_TASK", "SLURM_GPU_BIND")
"""Variables of which one is set if srun gave every task its own GPUs."""


def tasks_of_srun(environment: Mapping[str, str], has_terminal: bool) -> tuple[int, int] | None:
    """Return tasks per node and nodes of the step if srun has started several processes, this one among them.

    A step of one task is a process like any other: Lightning may start more.

    Args:
        environment: The variables of this process.
        has_terminal: Whether this process has a controlling terminal.

    Raises:
        ValueError: if the nodes have different numbers of tasks.
    """
    if "SLURM_PROCID" not in environment or "SLURM_STEP_ID" not in environment:
        return None
    tasks, nodes = (int(environment.get(f"SLURM_STEP_NUM_{name}", "1")) for name in ("TASKS", "NODES"))
    if tasks == 1 or _is_in_shell(environment, has_terminal):
        return None
    spread = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    if tasks % nodes or "," in spread:
        raise ValueError(
            f"srun has started {tasks} tasks on {nodes} nodes, not equally many on each (SLURM_STEP_TASKS_PER_NODE="
            f"{spread}); take --ntasks-per-node"
        )
    return tasks // nodes, nodes


def _is_in_shell(environment: Mapping[str, str], has_terminal: bool) -> bool:
    """Return whether this process was started by hand in a shell of `srun --pty`, and is not itself the task."""
    is_task = environment.get("SLURM_TASK_PID") == str(os.getpid())
    return "SLURM_PTY_PORT" in environment and has_terminal and not is_task


def inherited_tasks(environment: Mapping[str, str]) -> str | None:
    """Return the variables that speak of several tasks, as text; None if there are none.

    >>> inherited_tasks({"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "zsh"})
    'SLURM_NTASKS=4 SLURM_NNODES=2 SLURM_JOB_NAME=zsh'
    >>> inherited_tasks({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) is None
    True
    """
    if environment.get("SLURM_NTASKS", "1") == "1" and environment.get("SLURM_NNODES", "1") == "1":
        return None
    names = ("SLURM_NTASKS", "SLURM_NNODES", "SLURM_STEP_ID", "SLURM_JOB_NAME")
    return " ".join(f"{name}={environment[name]}" for name in names if name in environment)


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
