"""One run at a time in the folder of a run: two would overwrite each other's checkpoints and metrics."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
NAME = ".lock"


@contextmanager
def sole_run(run_dir: Path, wait_seconds: float = 30.0) -> Iterator[bool]:
    """Hold the folder of a run; the kernel gives it back when the process ends, however it ends.

    Yields whether another process held it before.

    Args:
        run_dir: The folder, which is made.
        wait_seconds: How long to wait for another process, which may be about to end.

    Raises:
        ValueError: where another process holds it all the time.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    lock, has_waited = FileLock(run_dir / NAME), False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        has_waited = True
        log.warning("another process trains in %s; waiting %.0f s for its end", run_dir, wait_seconds)
        try:
            lock.acquire(timeout=wait_seconds)
        except Timeout:
            raise ValueError(f"another process trains in {run_dir}; end it, or take another run_name") from None
    except (OSError, NotImplementedError) as error:
        log.warning("%s cannot be locked, so see to it that no other run writes there: %s", run_dir, error)
    try:
        yield has_waited
    finally:
        lock.release()
