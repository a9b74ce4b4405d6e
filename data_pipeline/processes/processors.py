"""The processors that this process may use."""

import os
import platform
from pathlib import Path


def num_processors() -> int:
    """Return how many processors this process may use; a job on a cluster has fewer than its node."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name of the processor as Linux gives it, else as Python does."""
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
