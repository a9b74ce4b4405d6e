"""Processes that work for a main process: they leave signals to it, end with it, and are missed if they are killed.

A terminal, `timeout`, systemd and scancel send their signals to every process of a command. The main process finishes
and saves what it is at, for which it still needs the processes that work for it.
"""

import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What others send to a whole command: Ctrl-C, the end of a job, a lost terminal, and the warnings of SLURM."""
POLL_SECONDS = 0.5
_KILLED = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (is killed by signal: (\w+)|exited unexpectedly)")


@contextmanager
def signals_held() -> Iterator[None]:
    """Start processes inside: signals wait for them until `serve_main_process` takes the signals off them.

    Otherwise a signal to the whole command ends a process that has just begun, before it can leave it aside.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def serve_main_process(number: int = 0) -> None:
    """Let signals end this process only if the main process has sent them, and end when the main process has ended.

    Call it at the beginning of a process; its threads inherit what it sets. It has the signature of torch's
    `worker_init_fn`.

    Args:
        number: Number of the process; it changes nothing.
    """
    if (main := multiprocessing.parent_process()) is not None and main.pid is not None:
        serve(main.pid)


def serve(main: int) -> None:
    """Do what `serve_main_process` does, for a main process of a given number.

    Args:
        main: Number of the main process, which may have started this one by way of another process.
    """
    if hasattr(signal, "sigtimedwait"):
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=_take_signals, args=(main, os.getppid()), name="signals", daemon=True).start()


def _take_signals(main: int, parent: int) -> None:
    """Take every signal off the process, which is blocked in all other threads; end if the main process asks for it."""
    while os.getppid() == parent:
        taken = signal.sigtimedwait(SIGNALS, POLL_SECONDS)
        if taken is not None and taken.si_pid == main:
            break
    os._exit(1)


def pass_over_losses_at_the_end() -> None:
    """Say nothing about a process that is lost while its loader ends, for the loader needs nothing more of it.

    Torch raises the loss where the main process happens to be. In the loader's `__del__` Python prints it and goes on.
    While the loader begins, it leaves a loader without all attributes, whose `__del__` then misses one.
    """
    earlier = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        error = unraisable.exc_value
        is_half_made = isinstance(error, AttributeError) and _is_of_a_loader(unraisable.object)
        if error is None or not (is_half_made or lost_process(error)):
            earlier(unraisable)

    sys.unraisablehook = hook


def _is_of_a_loader(method: object) -> bool:
    return getattr(method, "__module__", None) == "torch.utils.data.dataloader"


def lost_process(error: BaseException) -> str | None:
    """Return in one line which process of a loader was lost, None if the error says something else.

    >>> lost_process(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
    'a process that loads batches was lost (process 7: Killed); the kernel kills it if memory is short: lower \
data.num_workers or data.window_shards'
    >>> lost_process(RuntimeError("shape mismatch")) is None
    True

    Args:
        error: What torch has raised.
    """
    if not (isinstance(error, RuntimeError) and (said := _KILLED.search(str(error)))):
        return None
    about = f"a process that loads batches was lost (process {said[1]}: {said[3] or 'no reason is known'})"
    if said[3] == "Bus":
        return f"{about}; /dev/shm is full: give it more room (docker run --shm-size) or lower data.num_workers"
    return f"{about}; the kernel kills it if memory is short: lower data.num_workers or data.window_shards"
