"""What Lightning is told about who has started the processes, and which device each of them takes."""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.accelerators import Accelerator, CUDAAccelerator

from bert_lightning.settings.config import Processes
from bert_lightning.settings.slurm_step import has_terminal, tasks_of_srun
from data_pipeline.untrusted.internals import check_internal

log = logging.getLogger(__name__)
check_internal(SLURMEnvironment, "_validate_srun_variables", "lightning 2.6.6")  # overridden
LONG_SECONDS = 60.0
"""After so long a wait for the other processes at the start, it is said."""


class SrunEnvironment(SLURMEnvironment):
    """The tasks of one srun step. Lightning's class reads the numbers of the job, and insists on --ntasks-per-node."""

    def world_size(self) -> int:
        """Number of tasks of the step."""
        return int(os.environ["SLURM_STEP_NUM_TASKS"])

    @property
    def main_address(self) -> str:
        """Address of the first node of the step."""
        nodes = os.environ["SLURM_STEP_NODELIST"]
        return os.environ.setdefault("MASTER_ADDR", self.resolve_root_node_address(nodes))

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Do nothing: `find_processes` took both from the step."""

    @staticmethod
    def _validate_srun_variables() -> None:
        """Do nothing: any options of srun will do that start equally many tasks on every node."""


class OwnGpuAccelerator(CUDAAccelerator):
    """GPUs of which every process sees only its own, as under `srun --gpus-per-task=1`: each takes its first."""

    @staticmethod
    def parse_devices(devices: Any) -> list[int]:
        """Return one number for each process of the node."""
        return list(range(devices))

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        """Return the device of each process of the node, by the name that the process has for it."""
        return [torch.device("cuda", 0) for _ in devices]


def trainer_accelerator(processes: Processes) -> str | Accelerator:
    """Return the trainer's accelerator for the processes of a run."""
    return OwnGpuAccelerator() if processes.own_gpus else processes.accelerator


def launch_plugins(environment: Mapping[str, str] = os.environ) -> list[ClusterEnvironment]:
    """Return the plugin that says who has started the processes; none if Lightning finds out by itself.

    Inside a SLURM job Lightning takes the variables of any shell for a launch, and then waits for tasks that do not
    exist.

    Args:
        environment: The variables that torchrun and srun set.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return []
    if tasks_of_srun(environment, has_terminal()):
        return [SrunEnvironment()]
    return [LightningEnvironment()] if "SLURM_NTASKS" in environment else []


@contextmanager
def said_if_long(size: int, seconds: float = LONG_SECONDS) -> Iterator[None]:
    """Say what is waited for if the processes of a run take long to find each other.

    Args:
        size: Number of processes of the run.
        seconds: The time after which it is said.
    """
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")

    def say() -> None:
        said = " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
        log.warning("still waiting for all %d processes of the run to be there (%s)", size, said)

    timer = threading.Timer(seconds, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
