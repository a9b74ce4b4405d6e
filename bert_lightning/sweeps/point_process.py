"""One point of a sweep as a process: the same command without --multirun, with the overrides of the point.

A process has its own log, W&B run, memory and compiled code, Lightning can start the other ranks of it, and its death
is the end of this point only.
"""

import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO

from hydra._internal.utils import get_args_parser

from bert_lightning.settings.cli import INTERRUPTED, as_asked
from data_pipeline.processes.machine_faults import TRY_AGAIN

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
GOES_ON = (TRY_AGAIN, INTERRUPTED)
"""Exit statuses of a run that something outside has ended: the machine, or a Ctrl-C of its own."""
KEPT_LINES = 200
"""Last lines of standard error that are searched for the reason of a failure."""


class PointFailedError(Exception):
    """A point has failed; the message is the reason in one line."""


class PointKilledError(PointFailedError):
    """Something outside has ended a point, such as a kill or a full disk; the point can go on."""


def run_point(hydra_overrides: Sequence[str], overrides: Sequence[str]) -> None:
    """Run one point and wait for its end, as `run_process` does.

    Args:
        hydra_overrides: Overrides of Hydra's settings.
        overrides: Overrides of the point.
    """
    run_process([*_program(), *hydra_overrides, *overrides])


def run_process(words: Sequence[str]) -> None:
    """Run a command and wait for its end.

    A signal to this process is passed on, so that the run saves. After the end of the run it ends the sweep.

    Args:
        words: The command line.

    Raises:
        PointFailedError: if the process ends with another status than 0; a `PointKilledError` if a signal ended it, or
            its status says that the machine did.
        KeyboardInterrupt: after SIGINT.
        SystemExit: after another signal, with the status that a shell gives it.
    """
    with as_asked():
        process = subprocess.Popen(words, stderr=subprocess.PIPE)
    with _passing_on(process) as received:
        assert process.stderr is not None
        lines = _Lines(process.stderr)
        status = process.wait()
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    if received:
        sys.exit(128 + received[0])
    if status:
        error = PointKilledError if status < 0 or status in GOES_ON else PointFailedError
        raise error(_reason(status, list(lines())))


def _program() -> list[str]:
    """Return how this command was started, with its options but without its overrides."""
    spec = sys.modules["__main__"].__spec__
    program = [sys.executable, "-m", spec.name] if spec else [sys.executable, sys.argv[0]]
    options = get_args_parser().parse_args()
    given = {"--config-path": options.config_path, "--config-name": options.config_name}
    given |= {"--config-dir": options.config_dir}
    return program + [f"{name}={value}" for name, value in given.items() if value]


@contextmanager
def _passing_on(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Pass signals on to a process; yields those that came.

    A terminal sends SIGINT to both. The process gets SIGTERM for it besides, which asks for the same, and not a second
    SIGINT, which asks for an end without saving.
    """
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        process.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, pass_on) for number in heard}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Lines:
    """The standard error of a process: shown as it comes, its last lines kept."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept: deque[bytes] = deque(maxlen=KEPT_LINES)
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def _show(self) -> None:
        for line in self._stream:
            self._kept.append(line)
            sys.stderr.write(line.decode(errors="replace"))
            sys.stderr.flush()

    def __call__(self) -> Iterator[str]:
        """Return the last lines. A process that outlives the point may hold the stream: its end is not waited for."""
        self._thread.join(timeout=2.0)
        return (line.decode(errors="replace").rstrip() for line in list(self._kept))


def _reason(status: int, lines: Sequence[str]) -> str:
    """Return why a process has failed, from its status and the last lines of its standard error."""
    if status < 0:
        name = signal.Signals(-status).name
        return f"killed by {name}" + (", perhaps because memory was short" if name == "SIGKILL" else "")
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = [line for line in lines if line.strip()]
    return errors[-1] if errors else said[-1] if said else f"exit status {status}"
