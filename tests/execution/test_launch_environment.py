"""What Lightning makes of SLURM's variables with the plugins of a run, and the wait for processes that never come."""

import time
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only

from bert_lightning.execution.launch_environment import (
    OwnGpuAccelerator,
    SrunEnvironment,
    launch_plugins,
    said_if_long,
    trainer_accelerator,
)
from bert_lightning.execution.strategies import ReplicatedStrategy
from bert_lightning.settings.config import Processes

SRUN = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "8",
    "SLURM_NNODES": "4",
    "SLURM_JOB_NAME": "train",
    "SLURM_NODELIST": "a[0-3]",
}
SRUN |= {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "a[2-3]"}
SRUN |= {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}


@pytest.fixture
def srun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of four tasks on two of four nodes, without --ntasks-per-node."""
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", rank_zero_only.rank)  # a trainer sets it for the whole process
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)


def trainer_of(processes: Processes, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator=trainer_accelerator(processes),
        devices=processes.devices,
        num_nodes=processes.num_nodes,
        strategy=ReplicatedStrategy(),
        plugins=launch_plugins(),
        logger=False,
        enable_checkpointing=False,
        **options,
    )


@pytest.mark.usefixtures("srun")
def test_the_world_is_the_step() -> None:
    trainer = trainer_of(Processes("cpu", 2, 2, True))
    environment = trainer.strategy.cluster_environment
    assert isinstance(environment, SrunEnvironment)
    assert (trainer.world_size, trainer.global_rank, trainer.local_rank, trainer.node_rank) == (4, 3, 1, 1)
    assert (environment.world_size(), environment.main_address) == (4, "a2")


@pytest.mark.usefixtures("srun")
def test_without_a_step_lightning_starts_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SRUN:
        if "STEP" in name:
            monkeypatch.delenv(name)
    trainer = trainer_of(Processes("cpu", 2, 1, False))
    assert isinstance(trainer.strategy.cluster_environment, LightningEnvironment)
    assert (trainer.world_size, trainer.global_rank) == (2, 0)


def test_torchrun_comes_first() -> None:
    assert launch_plugins(SRUN | {"TORCHELASTIC_RUN_ID": "x"}) == []
    assert launch_plugins({}) == []


@pytest.mark.usefixtures("srun")
def test_tasks_that_see_one_gpu_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(OwnGpuAccelerator, "is_available", staticmethod(lambda: True))
    trainer = trainer_of(Processes("gpu", 2, 2, True, own_gpus=True))
    assert (trainer.world_size, trainer.local_rank, trainer.num_devices) == (4, 1, 2)
    assert trainer.strategy.root_device == torch.device("cuda", 0)


def test_a_long_wait_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with said_if_long(4, 60):
        pass
    assert caplog.text == ""
    with said_if_long(4, 0.01):
        deadline = time.monotonic() + 10
        while not caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "still waiting for all 4 processes of the run to be there (" in caplog.text
    assert "SLURM_STEP_NUM_TASKS=4" in caplog.text
