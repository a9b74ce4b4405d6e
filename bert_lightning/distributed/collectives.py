"""Sums and maxima over all processes, which cost nothing with one process."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among those that train together."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


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


class SharedFlags:
    """Flags that ranks raise for each other without waiting for a device or for a slow rank.

    What is sent in one exchange is read in the next, so the messages have a whole step to arrive. They go from host to
    host; all ranks must make the same exchanges.

    Args:
        number: Number of flags.
    """

    def __init__(self, number: int) -> None:
        self._group = dist.new_group(backend="gloo") if world_size() > 1 else None
        self._sent = torch.zeros(number, dtype=torch.int32)
        self._work: dist.Work | None = None

    def exchange(self, flags: list[bool]) -> list[bool]:
        """Send this rank's flags; return those that any rank sent in the exchange before, or now with one process."""
        mine = torch.tensor(flags, dtype=torch.int32)
        if self._group is None:
            return mine.bool().tolist()
        self.wait()
        raised = self._sent.bool().tolist()
        self._sent = mine
        self._work = dist.all_reduce(mine, dist.ReduceOp.MAX, self._group, async_op=True)
        return raised

    def wait(self) -> None:
        """Wait for the exchange under way."""
        if self._work is not None:
            self._work.wait()
            self._work = None


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
