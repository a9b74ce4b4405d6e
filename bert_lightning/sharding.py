"""FSDP2: the parameters, gradients and optimizer state of an objective split over the ranks. Lives outside the model.

The blocks of the encoder are one unit each and gather while the block before them computes; the embeddings, the heads
and the decoder tied to the embeddings stay together in the root unit.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, SingleDeviceStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard


def single_device(accelerator: str) -> SingleDeviceStrategy:
    """Return the strategy of one process on the first device."""
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return SingleDeviceStrategy(torch.device("cuda", 0) if on_gpu else torch.device("cpu"))


def shard(objective: nn.Module, mesh: DeviceMesh) -> None:
    """Shard an objective in place over a one-dimensional mesh: every block of a ModuleList, then the rest.

    Raises:
        ValueError: where there is no ModuleList.
    """
    blocks = [block for module in objective.modules() if isinstance(module, nn.ModuleList) for block in module]
    if not blocks:
        raise ValueError(f"strategy=fsdp needs an encoder of layers, {type(objective).__name__} has no ModuleList")
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)


def gradients_are_reduced(objective: nn.Module, reduced: bool) -> None:
    """Say whether the next backward pass reduces gradients over the ranks; a model that is not sharded has no say."""
    if isinstance(objective, FSDPModule):
        objective.set_requires_gradient_sync(reduced)


class FullyShardedStrategy(ModelParallelStrategy):
    """ModelParallelStrategy over all ranks as one data-parallel group, with whole-or-nothing checkpoints.

    A checkpoint is a folder that all ranks write into. It gets its name when every rank is done, so a folder with the
    name of a checkpoint is whole.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, **options)

    def setup_environment(self) -> None:
        """Take all ranks of all nodes as the data-parallel group."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint folder beside its place and move it there."""
        path = Path(self.broadcast(filepath))
        partial = path.with_name(f".{path.name}.partial")
        super().save_checkpoint(checkpoint, partial, storage_options)
        self.barrier()
        if self.is_global_zero:
            if path.is_dir():  # an earlier part of the run made the same step; older checkpoints are still there
                shutil.rmtree(path)
            partial.rename(path)
        self.barrier()
