"""Processes that tests start, watch and wait for."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def children(process: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until(
    true: Callable[[], bool],
    *processes: subprocess.Popen[str],
    seconds: float = 120,
    poll: float = 0.005,
    said: Callable[[], object] = str,
) -> None:
    """Wait until something is true or all processes have ended; fail with what was said if neither comes in time."""
    deadline = time.monotonic() + seconds
    while not true() and (not processes or any(process.poll() is None for process in processes)):
        assert time.monotonic() < deadline, f"it did not come to that in time {said()}"
        time.sleep(poll)


def runs(process: int) -> bool:
    """Return whether a process runs; one that has ended and is not collected yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def ends(process: int, seconds: float = 60) -> bool:
    """Wait for the end of a process and return whether it has come."""
    deadline = time.monotonic() + seconds
    while runs(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not runs(process)
