"""A run that was told to stop before its end, by a signal or by its time, and is to go on later."""

from typing import Any


def was_preempted(trainer: Any) -> bool:
    """Return whether a run was told to stop before its end; the callback that has stopped it says so by `preempted`.

    Args:
        trainer: The trainer of the run.
    """
    return any(getattr(callback, "preempted", False) for callback in trainer.callbacks)
