"""Numbered tasks in processes of this machine; a process that is killed is not waited for.

A pool of multiprocessing waits for ever if one of its processes is killed, as the kernel does if memory is short.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

import multiprocess
from multiprocess.pool import ExceptionWithTraceback

from data_pipeline.processes.child_processes import serve

_PRELOADED = "data_pipeline.preparation.preparation"


def run_in_processes(name: str, task: Callable[[int], object], numbers: Sequence[int], workers: int) -> None:
    """Run tasks; whatever ends this early ends the processes as well, and they end with this process.

    Args:
        name: Name of the stage, for the message.
        task: Function that runs the task of a number.
        numbers: Numbers of the tasks.
        workers: Most processes at a time.

    Raises:
        ChildProcessError: if a process was killed.
        Exception: the first error of a task.
    """
    # Processes are forked from one that has done their imports.
    context = multiprocess.get_context("forkserver")
    context.set_forkserver_preload(["__main__", _PRELOADED])
    waiting = deque(numbers)
    processes: dict[Any, Any] = {}
    at_work: dict[Any, int] = {}
    try:
        for _ in range(min(workers, len(waiting))):
            connection, other_end = context.Pipe()
            process = context.Process(target=_work, args=(other_end, task, os.getpid()))
            process.start()
            other_end.close()
            processes[connection] = process
            _give(connection, waiting, at_work)
        while at_work:
            for connection in wait(list(at_work)):
                _check(name, at_work.pop(connection), connection, processes[connection])
                _give(connection, waiting, at_work)
    finally:
        for process in processes.values():
            process.kill()
        for connection, process in processes.items():
            process.join()
            connection.close()


def _give(connection: Any, waiting: deque[int], at_work: dict[Any, int]) -> None:
    """Give the next task, if there is one, to a process without one."""
    if waiting:
        at_work[connection] = waiting.popleft()
        with suppress(BrokenPipeError):  # it was killed, which is noticed when its answer is read
            connection.send(at_work[connection])


def _check(name: str, number: int, connection: Any, process: Any) -> None:
    """Raise what a process says of its task, or that it says nothing any more."""
    try:
        error = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        raise ChildProcessError(
            f"task {number} of {name!r} was lost: its process {_ended(process.exitcode)}; the kernel ends processes so "
            "if memory is short: lower executor.workers. Finished tasks are kept; the same command continues with the "
            "others"
        ) from None
    if error is not None:
        raise error


def _ended(status: int | None) -> str:
    """Return how a process has ended, in words.

    >>> _ended(-9), _ended(3)
    ('was killed (SIGKILL)', 'ended with status 3')
    """
    if status is not None and status < 0:
        return f"was killed ({signal.Signals(-status).name})"
    return f"ended with status {status}"


def _work(connection: Any, task: Callable[[int], object], main: int) -> None:
    """Run the tasks whose numbers come, and send the error of each, None if there is none."""
    serve(main)
    while True:
        number, error = connection.recv(), None
        try:
            task(number)
        except Exception as raised:
            error = ExceptionWithTraceback(raised, raised.__traceback__)
        try:
            connection.send(error)
        except Exception as unsent:  # an error that cannot be pickled
            connection.send(RuntimeError(f"task {number} failed, and its error cannot be sent: {unsent}"))
