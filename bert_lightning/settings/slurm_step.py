"""SLURM's variables: which are of a task that srun has started, and which a shell, an editor or a notebook inherits.

A batch script, and a shell of salloc, have SLURM_NTASKS and SLURM_PROCID of the allocation, but nothing of a step. A
shell of `srun --pty` is a step of its own; with several tasks it is the only one that has a terminal. (`man srun`,
"Output environment variables".)
"""

import os
from collections.abc import Mapping

from data_pipeline.whole_numbers import number_of

_GPUS_OF_A_TASK = ("SLURM_GPUS_PER_TASK", "SLURM_NTASKS_PER_GPU", "SLURM_GPU_BIND")


def tasks_of_srun(environment: Mapping[str, str], has_terminal: bool) -> tuple[int, int] | None:
    """Return tasks per node and nodes of the step if srun has started several processes, this one among them.

    A step of one task is a process like any other: Lightning may start more.

    Args:
        environment: The variables of this process.
        has_terminal: Whether this process has a controlling terminal.

    Raises:
        ValueError: if the nodes have different numbers of tasks.
    """
    if "SLURM_PROCID" not in environment:
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


def tasks_not_started(environment: Mapping[str, str], wants_all_nodes: bool) -> str | None:
    """Return what to say if SLURM's variables speak of several tasks and srun has not started this process, else None.

    Args:
        environment: The variables of this process.
        wants_all_nodes: Whether the run should take all nodes that there are.

    Raises:
        ValueError: if the run would leave nodes idle that it should take.
    """
    nodes = environment.get("SLURM_NNODES", "1")
    if environment.get("SLURM_NTASKS", "1") == nodes == "1":
        return None
    names = ("SLURM_NTASKS", "SLURM_NNODES", "SLURM_STEP_ID", "SLURM_JOB_NAME")
    named = " ".join(f"{name}={environment[name]}" for name in names if name in environment)
    if wants_all_nodes and nodes != "1":
        raise ValueError(
            f"{named}, but srun has not started this process; put srun before the command, or set trainer.num_nodes=1 "
            "to train on this node alone"
        )
    return (
        f"{named}, but srun has not started this process: it does not wait for other tasks. For one each, put "
        "srun before the command"
    )


def has_own_gpus(devices: int, visible: int, environment: Mapping[str, str]) -> bool:
    """Return whether srun shows every task of a node GPUs of its own only, as --gpus-per-task=1 does.

    >>> has_own_gpus(4, 1, {"SLURM_PROCID": "0", "SLURM_GPUS_PER_TASK": "1"}), has_own_gpus(4, 4, {"SLURM_PROCID": "0"})
    (True, False)

    Args:
        devices: Tasks on this node.
        visible: GPUs that this process sees.
        environment: The variables of this process.

    Raises:
        ValueError: if tasks of srun would have to share GPUs.
    """
    if devices <= visible or "TORCHELASTIC_RUN_ID" in environment:
        return False
    by_tres = "gpu" in environment.get("SLURM_TRES_PER_TASK", "")
    if by_tres or any(environment.get(name, "none") != "none" for name in _GPUS_OF_A_TASK):
        return True
    raise ValueError(
        f"srun has started {devices} tasks on this node, but each sees {number_of(visible, 'GPU')}; take "
        f"--gpus-per-task=1, or --gpus-per-node={devices}"
    )


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
