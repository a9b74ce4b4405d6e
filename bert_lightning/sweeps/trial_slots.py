"""Where trials run: one after another in this thread, or several at a time as jobs of a launcher."""

import queue
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from hydra.core.utils import JobReturn, JobStatus

from bert_lightning.sweeps.point_process import PointKilledError
from data_pipeline.processes.machine_faults import MachineError

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a search as Ctrl-C does."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the job of a trial has ended.

    Attributes:
        number: Number of the trial.
        error: Why the job failed, in one line; None if it ended in order.
        was_killed: Whether its process died, or the machine failed it, so that the trial can go on.
        waited: Whether only the end of a process of an earlier start was waited for.
    """

    number: int
    error: str | None = None
    was_killed: bool = False
    waited: bool = False


Run = Callable[[], Any]


def ended(number: int, run: Run) -> Ended:
    """Run the job of a trial and return how it has ended.

    An error that the launcher itself raises is the loss of the job: what goes wrong in a job, it returns. A job that
    returns nothing has only waited.
    """
    try:
        returned = run()
    except Exception as error:
        return Ended(number, _one_line(error), was_killed=True)
    if isinstance(returned, JobReturn) and returned.status == JobStatus.FAILED:
        cause: Any = returned._return_value
        return Ended(number, _one_line(cause), isinstance(cause, PointKilledError | MachineError))
    return Ended(number, waited=returned is None)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Slots(Protocol):
    """Where trials run."""

    def is_free(self) -> bool:
        """Return whether another trial can begin."""
        ...

    def start(self, number: int, run: Run) -> None:
        """Begin the job of a trial."""
        ...

    def running(self) -> set[int]:
        """Return the trials whose end has not been waited for."""
        ...

    def wait(self, seconds: float | None = None) -> Ended | None:
        """Return how a trial has ended; None if none ends in time."""
        ...


class OneByOne:
    """One trial after another, in this thread, which signals reach."""

    def __init__(self) -> None:
        self._ended: list[Ended] = []

    def is_free(self) -> bool:
        """Return whether the last trial has been taken note of."""
        return not self._ended

    def start(self, number: int, run: Run) -> None:
        """Run the job of a trial to its end."""
        self._ended.append(ended(number, run))

    def running(self) -> set[int]:
        """Return the trial whose end has not been taken note of."""
        return {each.number for each in self._ended}

    def wait(self, seconds: float | None = None) -> Ended | None:
        """Return how the trial has ended."""
        return self._ended.pop() if self._ended else None


class SideBySide:
    """Several trials at a time, each in a thread that waits for its job.

    Ctrl-C does not reach the jobs: they inherit from their thread that the signal is blocked. Otherwise a terminal
    would send it to them too, and submitit's controller would kill them before they have saved.

    Args:
        number: Trials at a time.
        seconds_apart: Seconds between the beginnings of two jobs.
    """

    def __init__(self, number: int, seconds_apart: float = 0.5) -> None:
        self._number = number
        self._apart = seconds_apart
        self._running: set[int] = set()
        self._ended: queue.Queue[Ended] = queue.Queue()

    def is_free(self) -> bool:
        """Return whether another trial can begin."""
        return len(self._running) < self._number

    def start(self, number: int, run: Run) -> None:
        """Begin the job of a trial."""
        if self._running:
            time.sleep(self._apart)  # launchers name their files after the time and the process
        self._running.add(number)
        threading.Thread(target=self._run, args=(number, run), name=f"trial-{number}", daemon=True).start()

    def _run(self, number: int, run: Run) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._ended.put(ended(number, run))

    def running(self) -> set[int]:
        """Return the trials whose jobs have not ended."""
        return set(self._running)

    def wait(self, seconds: float | None = None) -> Ended | None:
        """Return how a trial has ended; None if none ends in time."""
        try:
            done = self._ended.get(timeout=seconds)
        except queue.Empty:
            return None
        self._running.discard(done.number)
        return done


class EndingSignals:
    """While it is entered, SIGTERM and SIGHUP raise a SystemExit in this thread, as Ctrl-C raises a KeyboardInterrupt.

    Signals that the process ignores stay ignored.
    """

    def __enter__(self) -> None:
        heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        self._previous = {number: signal.signal(number, self._end) for number in heard}

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
