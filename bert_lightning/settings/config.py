"""Where the Hydra configs are, and the checks across settings that are made before any process starts.

CONF_DIR is inside the package once installed, beside it in a checkout.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from data_pipeline.prepared.prepared_folder import PreparedFolder

_PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = str(next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir()))
MATMUL_PRECISIONS = ("highest", "high", "medium")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "fp8")


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run.

    Attributes:
        accelerator: "gpu" or "cpu".
        devices: Processes on each node.
        num_nodes: Nodes.
        launched: Whether torchrun or SLURM has started the processes; else Lightning does.
    """

    accelerator: str
    devices: int
    num_nodes: int
    launched: bool

    @property
    def size(self) -> int:
        """Processes of the run."""
        return self.devices * self.num_nodes


def describe_world(trainer: DictConfig, is_parallel: bool, environment: Mapping[str, str] = os.environ) -> World:
    """Return how many processes a run has, from what started it and the trainer's settings.

    Args:
        trainer: The trainer group.
        is_parallel: Whether the strategy runs several processes.
        environment: The variables that torchrun and srun set.

    Raises:
        ValueError: where the settings contradict each other, the launcher or the machine.
    """
    accelerator = find_accelerator(trainer.accelerator)
    launched = _launched_processes(environment)
    devices, num_nodes = trainer.devices, trainer.num_nodes
    for name, asked, found in zip(("devices", "num_nodes"), (devices, num_nodes), launched or (), strict=False):
        if asked not in ("auto", found):
            raise ValueError(f"trainer.{name}={asked}, but the launcher has started {found}; leave it at auto")
    if launched:
        devices, num_nodes = launched
    if devices == "auto":
        devices = torch.cuda.device_count() if accelerator == "gpu" and is_parallel else 1
    num_nodes = 1 if num_nodes == "auto" else num_nodes
    if not isinstance(devices, int) or not isinstance(num_nodes, int) or devices < 1 or num_nodes < 1:
        raise ValueError(f"trainer.devices={devices} and trainer.num_nodes={num_nodes} must be numbers from 1, or auto")
    if accelerator == "gpu" and devices > torch.cuda.device_count():
        raise ValueError(f"trainer.devices={devices}, but this machine has {torch.cuda.device_count()} GPUs")
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
    return World(accelerator, devices, num_nodes, launched is not None)


def find_accelerator(name: str, key: str = "trainer.accelerator") -> str:
    """Return "gpu" or "cpu"; auto takes a GPU where there is one.

    Raises:
        ValueError: where the name is unknown, or torch finds no GPU.
    """
    if name not in ("auto", "cpu", "gpu"):
        raise ValueError(f"{key}={name} is not one of auto, cpu, gpu")
    if name == "gpu" and not torch.cuda.is_available():
        raise ValueError(f"{key}=gpu, but torch finds no GPU")
    return "gpu" if name != "cpu" and torch.cuda.is_available() else "cpu"


def _launched_processes(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return processes per node and nodes where torchrun or srun has started them."""
    if "LOCAL_WORLD_SIZE" in environment and "TORCHELASTIC_RUN_ID" in environment:
        local = int(environment["LOCAL_WORLD_SIZE"])
        return local, int(environment["WORLD_SIZE"]) // local
    if "SLURM_PROCID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return int(environment.get("SLURM_NTASKS", "1")) // nodes, nodes
    return None


def unused_gpus(world: World, visible: int) -> str | None:
    """Return how many GPUs of a node are left idle and how to use them; None if all are used.

    Args:
        world: The processes of the run.
        visible: GPUs that this process sees.

    >>> unused_gpus(World("gpu", 1, 2, True), 8)
    'trains on 1 of the 8 GPUs of a node; start a process for each, as srun --ntasks-per-node=8 does'
    >>> unused_gpus(World("gpu", 8, 2, True), 8) is None, unused_gpus(World("cpu", 1, 1, False), 8) is None
    (True, True)
    """
    if world.accelerator != "gpu" or world.devices >= visible:
        return None
    how = f"start a process for each, as srun --ntasks-per-node={visible} does"
    how = how if world.launched else "strategy=ddp or strategy=fsdp with trainer.devices=auto uses all"
    return f"trains on {world.devices} of the {visible} GPUs of a node; {how}"


def restarts_would_fail(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether torchrun would start ranks again with the addresses of those that died still in its store.

    See pytorch/pytorch#135712: the store of the agent is shared with the ranks, and one store serves all attempts.
    """
    shared = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return shared and int(environment.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is rank 0, before there is a process group.

    >>> is_first_process({}), is_first_process({"RANK": "1", "LOCAL_RANK": "0"}), is_first_process({"LOCAL_RANK": "1"})
    (True, False, False)
    """
    ranks = [environment[name] for name in ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK") if name in environment]
    return not ranks or (ranks[0] == "0" and environment.get("LOCAL_RANK", "0") == "0")


def resolve_precision(precision: str, accelerator: str, key: str = "trainer.precision") -> str:
    """Return the precision; auto is bf16-mixed where the hardware multiplies bf16, else 32-true.

    What fp8 needs besides is checked by `float8`.

    Raises:
        ValueError: where the word is unknown or the GPU cannot do it.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"{key}={precision} is not one of {', '.join(PRECISIONS)}")
    on_gpu = accelerator == "gpu"
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_multiplies_bf16()
    if on_gpu and precision == "bf16-mixed" and not fast:
        raise ValueError(f"{key}=bf16-mixed, but {torch.cuda.get_device_name()} has no bf16; take 32-true")
    return ("bf16-mixed" if fast else "32-true") if precision == "auto" else precision


def lightning_precision(precision: str) -> str:
    """Return Lightning's word for it: around the 8-bit matrix products of fp8 everything is as in bf16-mixed."""
    return "bf16-mixed" if precision == "fp8" else precision


def cpu_multiplies_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor has bf16 matrix instructions; without them bf16 is slower than fp32."""
    if not cpuinfo.exists():
        return False
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", cpuinfo.read_text()))


def micro_batches_per_step(global_batch_size: int, micro_batch_size: int, world_size: int) -> int:
    """Return how many micro-batches one rank goes through for one optimizer step.

    >>> micro_batches_per_step(256, 32, 2)
    4

    Raises:
        ValueError: where the division leaves a remainder.
    """
    together = micro_batch_size * world_size
    if global_batch_size < 1 or micro_batch_size < 1 or global_batch_size % together:
        raise ValueError(
            f"data.global_batch_size={global_batch_size} is not a multiple of data.micro_batch_size={micro_batch_size} "
            f"times {world_size} processes = {together}"
        )
    return global_batch_size // together


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


def check_numbers(data: DictConfig, seed: Any) -> None:
    """Check that the numbers of the data group are whole and large enough; null is checked where it is not allowed.

    Raises:
        ValueError: naming the key.
    """
    for name, least in LEAST.items():
        value = data[name]
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(f"data.{name}={value} must be a whole number, at least {least}")
    if not data.path:
        raise ValueError(f"data.path={data.path} must be a folder written by bert-prepare")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed} must be a whole number, at least 0")


def prepared_folder(data: DictConfig) -> PreparedFolder:
    """Return the prepared folder of the data group, wherever it is."""
    return PreparedFolder(data.path, data.cache_dir, data.cache_bytes, data.retries)


def validate(cfg: DictConfig, world: World) -> None:
    """Check settings of bert-pretrain against each other.

    Raises:
        ValueError: naming the setting and what it contradicts.
    """
    micro_batches_per_step(cfg.data.global_batch_size, cfg.data.micro_batch_size, world.size)
    resolve_precision(cfg.trainer.precision, world.accelerator)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=,+-]*", str(cfg.run_name)):
        raise ValueError(
            f"run_name={cfg.run_name} must be letters, digits and ._=,+- : it names a folder and a W&B run"
        )
    for name in ("max_steps", "log_every_n_steps", "val_check_interval"):
        if not isinstance(cfg.trainer[name], int) or cfg.trainer[name] < 1:
            raise ValueError(f"trainer.{name}={cfg.trainer[name]} must be a number of steps, at least 1")
    if cfg.float32_matmul_precision not in MATMUL_PRECISIONS:
        raise ValueError(
            f"float32_matmul_precision must be one of {', '.join(MATMUL_PRECISIONS)}; "
            f"got {cfg.float32_matmul_precision}"
        )
    clip = cfg.gradient_clip_val
    if clip is not None and (not isinstance(clip, int | float) or clip <= 0):
        raise ValueError(f"gradient_clip_val={clip} must be a number above 0, or null")
    if not isinstance(cfg.max_skipped_steps, int) or cfg.max_skipped_steps < 1:
        raise ValueError(f"max_skipped_steps={cfg.max_skipped_steps} must be a whole number, at least 1")
    if not isinstance(cfg.activation_checkpointing, bool):
        raise ValueError(f"activation_checkpointing={cfg.activation_checkpointing} must be true or false")
    longest = cfg.model.max_position_embeddings
    if longest < cfg.data.seq_len:
        raise ValueError(f"data.seq_len={cfg.data.seq_len} is above model.max_position_embeddings={longest}")
    sweeps = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if sweeps and world.size > 1 and not world.launched:
        raise ValueError(
            f"--multirun with {world.size} processes started by Lightning would start the sweep again in each of them; "
            "sweep single-process runs, or take a launcher plugin (hydra/launcher=submitit_slurm)"
        )
