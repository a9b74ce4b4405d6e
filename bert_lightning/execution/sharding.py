"""FSDP2: the parameters, gradients and optimizer state of an objective split over the ranks. Lives outside the model.

The blocks of the encoder are one unit each and gather while the block before them computes; the embeddings, the heads
and the decoder tied to the embeddings stay together in the root unit.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, slots=True)
class ShardingOptions:
    """How a model is split.

    Attributes:
        reshard_after_forward: Drop the gathered parameters of a block after its forward pass and gather them again for
            its backward pass: less memory, half as much communication again.
        param_dtype: Precision of the gathered parameters; gradients are reduced in fp32 either way.
    """

    reshard_after_forward: bool = True
    param_dtype: torch.dtype = torch.float32


def blocks_of(objective: nn.Module) -> list[nn.Module]:
    """Return the blocks of an objective: the elements of its ModuleLists.

    Raises:
        ValueError: if there are none, so that nothing can be sharded or recomputed piece by piece.
    """
    blocks = [block for module in objective.modules() if isinstance(module, nn.ModuleList) for block in module]
    if not blocks:
        raise ValueError(f"{type(objective).__name__} has no layers (no nn.ModuleList) to shard or recompute")
    return list(dict.fromkeys(blocks))


def units_of(objective: nn.Module) -> list[nn.Module]:
    """Return the blocks as the units that are sharded.

    Raises:
        ValueError: if there are none, or if two of them share weights, which FSDP2 does not take.
    """
    blocks = blocks_of(objective)
    weights = [parameter for block in blocks for parameter in block.parameters()]
    if len(set(weights)) < len(weights):
        raise ValueError(
            "the layers share a part of their weights, which strategy=fsdp does not take; take "
            "model.shared_parameters=all or none, or strategy=ddp"
        )
    return blocks


def recompute_activations(objective: nn.Module) -> None:
    """Keep only the inputs of every block for the backward pass and compute the rest anew there (Chen et al., 2016).

    Names of parameters stay as they are, dropout draws the same noise again.
    """
    for block in blocks_of(objective):
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def shard(objective: nn.Module, mesh: DeviceMesh, options: ShardingOptions | None = None) -> None:
    """Shard an objective in place: every block, then the rest; with the values that the first rank has.

    On the other ranks it may be on the meta device. No device ever holds more than its shard and one whole tensor.

    Args:
        objective: Has at least one ModuleList.
        mesh: One dimension to shard over; or two, to keep copies over the first and shard over the second.
        options: How it is split.

    Raises:
        ValueError: if there is no ModuleList.
    """
    options = options or ShardingOptions()
    policy = MixedPrecisionPolicy(param_dtype=options.param_dtype, reduce_dtype=torch.float32)
    blocks = units_of(objective)
    is_first = dist.get_rank() == 0
    values: dict[str, Any] = objective.state_dict() if is_first else {}
    buffers = [buffer for _, buffer in objective.named_buffers()] if is_first else []
    objective.to("meta")
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=options.reshard_after_forward)
    fully_shard(objective, mesh=mesh, mp_policy=policy)
    objective.to_empty(device=_device_of(mesh))
    set_model_state_dict(objective, values, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
    for number, buffer in enumerate(objective.buffers()):  # those that are not in the state
        if is_first:
            buffer.copy_(buffers[number])
        dist.broadcast(buffer, src=0)


def _device_of(mesh: DeviceMesh) -> torch.device:
    """Return the device of this process."""
    return torch.device("cuda", torch.cuda.current_device()) if mesh.device_type == "cuda" else torch.device("cpu")
