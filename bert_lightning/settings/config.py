"""The checks across settings that are made before any process starts."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings.hardware import device_type, find_accelerator, resolve_precision
from bert_lightning.settings.slurm_step import has_own_gpus, has_terminal, tasks_not_started, tasks_of_srun
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.whole_numbers import check_whole_number, number_of

log = logging.getLogger(__name__)
MATMUL_PRECISIONS = ("highest", "high", "medium")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, and where they run.

    Attributes:
        accelerator: "gpu" or "cpu".
        devices: Number of processes on each node.
        num_nodes: Number of nodes.
        launched: Whether torchrun or srun has started the processes; if not, Lightning does.
        own_gpus: Whether every process sees only GPUs that no other process of its node sees.
    """

    accelerator: str
    devices: int
    num_nodes: int
    launched: bool
    own_gpus: bool = False

    @property
    def device_type(self) -> str:
        """Torch's word for the accelerator, "cuda" or "cpu"."""
        return device_type(self.accelerator)

    @property
    def size(self) -> int:
        """Number of processes of the run."""
        return self.devices * self.num_nodes


def find_processes(trainer: DictConfig, is_parallel: bool, environment: Mapping[str, str] = os.environ) -> Processes:
    """Return how many processes a run has, from what started it and the trainer's settings.

    Args:
        trainer: The trainer group.
        is_parallel: Whether the strategy runs several processes.
        environment: The variables that torchrun and srun set.

    Raises:
        ValueError: if the settings contradict each other, the launcher or the machine.
    """
    accelerator = find_accelerator(trainer.accelerator)
    launched = _launched_processes(environment)
    devices, num_nodes = trainer.devices, trainer.num_nodes
    for name, asked, started in zip(("devices", "num_nodes"), (devices, num_nodes), launched or (), strict=False):
        if asked not in ("auto", started):
            raise ValueError(f"trainer.{name}={asked}, but the launcher has started {started}; leave it at auto")
    if launched:
        devices, num_nodes = launched
    if devices == "auto":
        devices = torch.cuda.device_count() if accelerator == "gpu" and is_parallel else 1
    num_nodes = 1 if num_nodes == "auto" else num_nodes
    for name, number in (("devices", devices), ("num_nodes", num_nodes)):
        check_whole_number(f"trainer.{name}", number)
    visible = torch.cuda.device_count()
    own_gpus = accelerator == "gpu" and launched is not None and has_own_gpus(devices, visible, environment)
    if accelerator == "gpu" and devices > visible and not own_gpus:
        raise ValueError(f"trainer.devices={devices}, but this machine has {number_of(visible, 'GPU')}")
    if num_nodes > 1 and not launched and "NODE_RANK" not in environment:
        raise ValueError(
            f"trainer.num_nodes={num_nodes}, but nothing has started processes on other nodes; use torchrun or srun "
            "(docs/launching.md), or set NODE_RANK, MASTER_ADDR and MASTER_PORT on every node"
        )
    if not is_parallel and devices * num_nodes > 1:
        raise ValueError(
            f"strategy=single runs one process, not trainer.devices={devices} times trainer.num_nodes={num_nodes}; "
            "take strategy=ddp or strategy=fsdp"
        )
    if not launched:
        said = tasks_not_started(environment, wants_all_nodes=is_parallel and trainer.num_nodes == "auto")
        if said and is_first_process(environment):
            log.warning("%s", said)
    return Processes(accelerator, devices, num_nodes, launched is not None, own_gpus)


def _launched_processes(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return processes per node and nodes if torchrun or srun has started several, else None."""
    if "LOCAL_WORLD_SIZE" in environment and "TORCHELASTIC_RUN_ID" in environment:
        local = int(environment["LOCAL_WORLD_SIZE"])
        return local, int(environment["WORLD_SIZE"]) // local
    return tasks_of_srun(environment, has_terminal())


def unused_gpus(processes: Processes, visible: int) -> str | None:
    """Return how many GPUs of a node are left idle and how to use them; None if all are used.

    Args:
        processes: The processes of the run.
        visible: GPUs that this process sees.

    >>> unused_gpus(Processes("gpu", 1, 2, True), 8)
    'trains on 1 of the 8 GPUs of a node; start a process for each, as srun --ntasks-per-node=8 does'
    >>> unused_gpus(Processes("gpu", 8, 2, True), 8) is None, unused_gpus(Processes("cpu", 1, 1, False), 8) is None
    (True, True)
    """
    if processes.accelerator != "gpu" or processes.devices >= visible:
        return None
    how = f"start a process for each, as srun --ntasks-per-node={visible} does"
    how = how if processes.launched else "strategy=ddp or strategy=fsdp with trainer.devices=auto uses all"
    return f"trains on {processes.devices} of the {visible} GPUs of a node; {how}"


def restarts_would_fail(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether torchrun would start ranks again with the addresses of those that died still in its store.

    See pytorch/pytorch#135712: the store of the agent is shared with the ranks, and one store serves all attempts.
    """
    shared = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return shared and int(environment.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def starts_again(environment: Mapping[str, str], is_in_terminal: bool) -> str | None:
    """Return who may start the same command again after it was lost or stopped, None if nobody does.

    >>> starts_again({"TORCHELASTIC_MAX_RESTARTS": "3"}, False), starts_again({"SLURM_PROCID": "0"}, False)
    ('torchrun', 'SLURM')

    Args:
        environment: The variables that torchrun and SLURM set.
        is_in_terminal: Whether this process has a controlling terminal, as in a shell of SLURM.
    """
    if int(environment.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
        return "torchrun"
    return "SLURM" if "SLURM_PROCID" in environment and not is_in_terminal else None


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is rank 0, before there is a process group.

    >>> is_first_process({}), is_first_process({"RANK": "1", "LOCAL_RANK": "0"}), is_first_process({"LOCAL_RANK": "1"})
    (True, False, False)
    """
    ranks = [environment[name] for name in ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK") if name in environment]
    return not ranks or (ranks[0] == "0" and environment.get("LOCAL_RANK", "0") == "0")


LEAST = {
    "seq_len": 8,
    "global_batch_size": 1,
    "micro_batch_size": 1,
    "validation_micro_batch_size": 1,
    "validation_samples": 1,
    "num_workers": 0,
    "num_lanes": 1,
    "window_shards": 1,
    "cache_bytes": 1,
    "retries": 0,
}
"""The smallest number that each key of the data group may have."""
MAY_BE_NULL = ("validation_samples", "cache_bytes")
"""Keys of the data group for which null means all, or no limit."""


def check_numbers(data: DictConfig, seed: Any) -> None:
    """Check that the numbers of the data group are whole and large enough.

    Raises:
        ValueError: naming the key.
    """
    for name, least in LEAST.items():
        check_whole_number(f"data.{name}", data[name], least, or_null=name in MAY_BE_NULL)
    if isinstance(data.exclude_shards, str):
        raise ValueError(
            f"data.exclude_shards must be a list such as [{data.exclude_shards}]; got {data.exclude_shards}"
        )
    if data.quarantine:
        if data.quarantine != data.exclude_shards:
            raise ValueError(
                f"data.quarantine={data.quarantine} is the old name of data.exclude_shards={data.exclude_shards}; "
                "set the latter alone"
            )
        if is_first_process():
            log.warning("data.quarantine is now called data.exclude_shards; the old name still works")
    if not data.path:
        raise ValueError(f"data.path must be a folder written by bert-prepare; got {data.path}")
    check_whole_number("seed", seed, least=0)


def filled_in(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """Return a config with other values for some keys, which cannot be changed any more; `cfg` stays as it is.

    Args:
        cfg: A config.
        values: The new values; groups are mappings.
    """
    filled = OmegaConf.merge(cfg, dict(values))
    assert isinstance(filled, DictConfig)
    OmegaConf.set_readonly(filled, True)
    return filled


def prepared_folder(data: DictConfig) -> PreparedFolder:
    """Return the prepared folder of the data group, wherever it is."""
    return PreparedFolder(data.path, data.cache_dir, data.cache_bytes, data.retries)


def check_run_name(run_name: str) -> None:
    """Raise a ValueError if the name of a run, or of several, cannot name a folder."""
    name = r"[A-Za-z0-9][A-Za-z0-9._=,+-]*"
    if not re.fullmatch(rf"{name}(/{name})*", run_name):
        raise ValueError(
            f"run_name must be letters, digits and ._=,+-, because it names a folder and a W&B run; got {run_name}"
        )


def validate(cfg: DictConfig, processes: Processes) -> None:
    """Check settings of bert-pretrain against each other.

    Raises:
        ValueError: naming the setting and what it contradicts.
    """
    resolve_precision(cfg.trainer.precision, processes.accelerator)
    check_run_name(str(cfg.run_name))
    for name in ("max_steps", "log_every_n_steps", "val_check_interval"):
        check_whole_number(f"trainer.{name}", cfg.trainer[name])
    if "max_steps" in cfg.schedule:
        check_whole_number("schedule.max_steps", cfg.schedule.max_steps)
    if cfg.float32_matmul_precision not in MATMUL_PRECISIONS:
        raise ValueError(
            f"float32_matmul_precision must be one of {', '.join(MATMUL_PRECISIONS)}; "
            f"got {cfg.float32_matmul_precision}"
        )
    clip = cfg.gradient_clip_val
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, int | float) or not clip > 0):
        raise ValueError(f"gradient_clip_val must be a number above 0, or null; got {clip}")
    check_whole_number("max_skipped_steps", cfg.max_skipped_steps)
    if not isinstance(cfg.activation_checkpointing, bool):
        raise ValueError(f"activation_checkpointing must be true or false; got {cfg.activation_checkpointing}")
    sweeps = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if sweeps and processes.size > 1 and not processes.launched:
        raise ValueError(
            f"{processes.size} processes started by Lightning would start the sweep again in each of them; take "
            "hydra/launcher=process, or submitit_slurm"
        )
