"""A process that measures one step after another, so that imports and the start of the device are paid for once."""

import gc
import multiprocessing
import os
import signal
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from gpu_session.records import Record
from gpu_session.steps import Step

STOPPED, DIED = "stopped after {} s", "the process died; the log has its last words"
ERROR_LINES = 3
SECONDS_TO_END = 3.0


class StepFailed(Exception):
    """A step without an answer; the arguments are lines that say what went wrong, the first one most."""


class Worker:
    """The process, as its parent sees it.

    Args:
        log: A file for all that it prints.
        results: A folder for what steps keep beside their records.
        scratch: A folder for what nobody keeps.
    """

    def __init__(self, log: Path, results: Path, scratch: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, log, results, scratch))
        self._process.start()
        self._is_idle = False
        other.close()

    def facts(self, seconds: float) -> Record:
        """Return what the process knows about its machine, as soon as it is up."""
        return self._answer(seconds)

    def measure(self, step: Step, seconds: float) -> Record:
        """Return what a step found.

        Raises:
            StepFailed: if it failed, took too long, or took its process with it.
        """
        self._is_idle = False
        try:
            self._connection.send(step)
        except OSError as error:  # it has died since its last answer
            raise StepFailed(DIED) from error
        return self._answer(seconds)

    def stop(self) -> None:
        """Let an idle process end; kill a busy one and all that it has started."""
        self._connection.close()
        if self._is_idle:
            self._process.join(SECONDS_TO_END)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join()

    def _answer(self, seconds: float) -> Record:
        if not self._connection.poll(max(0.0, seconds)):
            raise StepFailed(STOPPED.format(round(seconds)))
        try:
            is_found, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise StepFailed(DIED) from error
        self._is_idle = True
        if not is_found:
            raise StepFailed(*answer)
        return answer


def serve(connection: Connection, log: Path, results: Path, scratch: Path) -> None:
    """Measure what the parent asks for, until it has gone."""
    os.setsid()
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from bert_lightning.benchmarks.machine import machine  # imports torch: here, not in the parent
    from gpu_session.works import WORKS

    connection.send((True, machine()))
    while True:
        try:
            step: Step = connection.recv()
        except EOFError:
            return
        print(f"\n== {step.name}: {step.work} {' '.join(step.settings)}", flush=True)
        try:
            answer: tuple[bool, Any] = (True, WORKS[step.work](step.settings, results / step.name, scratch))
        except BaseException as error:
            traceback.print_exc()
            answer = (False, _in_short(error))
        _clean_up()
        connection.send(answer)


def _in_short(error: BaseException) -> list[str]:
    """Return the first lines of an error, and the line of code that raised it."""
    words = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines() if line.strip()]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return [*words[: ERROR_LINES - 1], f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"]


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)


def _clean_up() -> None:
    """Forget models and graphs of the step before; compiled kernels stay in their cache on the disk."""
    import torch

    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # a device that a step has broken says so in the next one, too
            torch.cuda.empty_cache()
