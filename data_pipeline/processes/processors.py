"""The processors that this process may use."""

import os


def num_processors() -> int:
    """Return how many processors this process may use; a job on a cluster has fewer than its node."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
