"""FSDP2: the parameters, gradients and optimizer state of an objective split over the ranks. Lives outside the model.

The blocks of the encoder are one unit each and gather while the block before them computes; the embeddings, the heads
and the decoder tied to the embeddings stay together in the root unit.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, SingleDeviceStrategy
from torch import nn
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict, set_optimizer_state_dict
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer


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


def parameter_names(model: nn.Module, optimizer: Optimizer) -> list[str]:
    """Return the names of an optimizer's parameters in the order in which its state numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _renumber(state: dict[str, Any], keys: Mapping[Any, Any] | Sequence[Any]) -> dict[str, Any]:
    """Return an optimizer state with other keys for the parameters: names for numbers, or numbers for names."""
    groups = [group | {"params": [keys[key] for key in group["params"]]} for group in state["param_groups"]]
    return {"state": {keys[key]: value for key, value in state["state"].items()}, "param_groups": groups}


def read_sharded_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint folder as the dictionary that a checkpoint file of the same run would hold.

    Needs no process group and holds the whole model in memory.
    """
    tensors: dict[str, Any] = {}
    _load_state_dict(tensors, FileSystemReader(path), planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    checkpoint: dict[str, Any] = torch.load(path / "meta.pt", map_location="cpu", weights_only=True)
    state = tensors["optimizer_0"]
    names = [name for group in state["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    return checkpoint | {"state_dict": tensors["state_dict"], "optimizer_states": [_renumber(state, numbers)]}


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

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = True) -> dict[str, Any]:
        """Load a folder, or a file that another strategy has written.

        Lightning's own reading of a file takes the order of the parameters in the model for that in the optimizer,
        which is another one as soon as there are two groups.
        """
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return super().load_checkpoint(path, weights_only)
        checkpoint: dict[str, Any] = torch.load(path, mmap=True, map_location="cpu", weights_only=weights_only)
        assert self.model is not None
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(self.model, checkpoint.pop("state_dict"), options=options)
        for optimizer, state in zip(self.optimizers, checkpoint.pop("optimizer_states"), strict=True):
            named = _renumber(state, parameter_names(self.model, optimizer))
            set_optimizer_state_dict(self.model, optimizer, named, options=options)
        return checkpoint

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
