"""Ctrl-C during a long call of a library, which Python would notice only when the call returns."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def interruptible(call: Callable[[], T]) -> T:
    """Return what a function returns, or raise what it raises; Ctrl-C ends the wait for it at once.

    The function runs in a thread that does not delay the end of the process; what it does must be safe to give up.

    Args:
        call: Function without arguments.
    """
    results: SimpleQueue[T] = SimpleQueue()
    errors: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            results.put(call())
            errors.put(None)
        except BaseException as error:
            errors.put(error)

    Thread(target=run, daemon=True).start()
    if (error := errors.get()) is not None:
        raise error
    return results.get()
