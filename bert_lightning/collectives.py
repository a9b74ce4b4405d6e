"""Sums and maxima over all processes, which cost nothing where there is one process."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor over all ranks in place and return it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def any_rank(flag: bool, device: torch.device, group: dist.ProcessGroup | None = None) -> bool:
    """Return on every rank whether the flag is set on any; waits for the device."""
    if world_size() == 1:
        return flag
    agreed = torch.tensor(int(flag), device=device)
    dist.all_reduce(agreed, dist.ReduceOp.MAX, group)
    return bool(agreed)


def gather_objects(value: T) -> list[T]:
    """Return the values of all ranks, in their order; small ones, they are pickled."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def shut_down() -> None:
    """Leave the process group: without it torchrun's agents abort now and then after training has ended."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
