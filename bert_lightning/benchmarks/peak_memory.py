"""The most memory a stretch of work takes beyond what was held before: of the GPU, or resident on Linux."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


class Growth:
    """Bytes added at the peak; None if the system does not tell."""

    num_bytes: int | None = None


@contextmanager
def peak_growth(device: torch.device) -> Iterator[Growth]:
    """Watch the memory while the block runs."""
    growth = Growth()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield growth
        growth.num_bytes = torch.cuda.max_memory_allocated(device) - before
    elif (_PROCESS / "clear_refs").exists():
        _give_back_free_memory()
        before = _resident("VmRSS")
        (_PROCESS / "clear_refs").write_text("5")  # the peak begins anew
        yield growth
        growth.num_bytes = _resident("VmHWM") - before
    else:
        yield growth


def _give_back_free_memory() -> None:
    """Return freed memory to the system; otherwise memory that is taken again would not count as growth."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident(name: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
