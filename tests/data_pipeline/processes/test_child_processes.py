"""Processes that work for a main process: only it can end them, they end with it, and a lost one is named."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline.processes.child_processes import SIGNALS, lost_process, pass_over_losses_at_the_end
from tests.support.checkout import checkout_environment
from tests.support.processes import children, ends, wait_until

pytestmark = pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="needs sigtimedwait")
MAIN = """
import multiprocessing, sys, time
from data_pipeline.processes.child_processes import serve_main_process

def work():
    serve_main_process()
    print("ready", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    sys.stdin.readline()
    process.terminate()
    process.join()
    print(process.exitcode, flush=True)
    sys.stdin.readline()
"""


BEGINNING = """
import multiprocessing, sys, time
from data_pipeline.processes.child_processes import serve_main_process, signals_held

def work():
    print("begun", flush=True)
    time.sleep(0.5)
    serve_main_process()
    print("ready", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    with signals_held():
        multiprocessing.get_context("fork").Process(target=work, daemon=True).start()
    sys.stdin.readline()
"""


def start_main() -> tuple[subprocess.Popen[str], int]:
    """Start a main process with one that works for it, which is ready when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN],
        env=checkout_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (worker,) = children(process.pid)
    return process, worker


def test_signals_of_others_are_ignored_and_the_main_process_is_obeyed() -> None:
    main, worker = start_main()
    for number in SIGNALS:
        os.kill(worker, number)
    # The signals are taken one after another: when the last one is no longer pending, the process has seen them all.
    wait_until(lambda: pending(worker) == 0, seconds=30)
    assert Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] in "SR"
    said, _ = main.communicate("end it\n\n", timeout=60)
    assert said == "1\n"


def test_a_signal_to_a_process_that_has_just_begun_waits_for_it() -> None:
    """As a signal to the whole command may come while a loader starts its processes."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGINNING],
        env=checkout_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as main:
        assert main.stdout is not None
        assert main.stdout.readline() == b"begun\n"
        (worker,) = children(main.pid)
        for number in SIGNALS:
            os.kill(worker, number)
        assert select.select([main.stdout], [], [], 60)[0]
        assert main.stdout.readline() == b"ready\n"
        # A signal that is still pending would swallow the one with which the main process ends it.
        wait_until(lambda: pending(worker) == 0, seconds=60)
        main.communicate(b"end it\n", timeout=60)
        assert main.returncode == 0


def test_they_end_with_the_main_process() -> None:
    main, worker = start_main()
    main.kill()
    main.wait()
    assert ends(worker)


def pending(process: int) -> int:
    """Return the signals that a process has not taken yet, as bits."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("ShdPnd")).split()[1], 16)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("DataLoader worker (pid 12) is killed by signal: Killed. ", r"process 12: Killed\).*lower data.num_workers"),
        ("DataLoader worker (pid(s) 3, 4) exited unexpectedly", r"process 3, 4: no reason.*lower data.num_workers"),
        ("DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that", r"/dev/shm is full"),
    ],
)
def test_a_lost_process_is_named(said: str, expected: str) -> None:
    told = lost_process(RuntimeError(said))
    assert told is not None
    assert "\n" not in told
    with pytest.raises(ValueError, match=expected):
        raise ValueError(told)
    assert lost_process(ValueError(said)) is None


class Ending:
    """A loader that raises while it ends."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __del__(self) -> None:
        raise RuntimeError(self.message)


class HalfMade:
    """A loader that lost a process while it began."""

    def __del__(self) -> None:
        raise AttributeError("'_MultiProcessingDataLoaderIter' object has no attribute '_workers_status'")


HalfMade.__del__.__module__ = "torch.utils.data.dataloader"


def test_a_process_lost_while_its_loader_ends_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: said.append(str(unraisable.exc_value)))
    pass_over_losses_at_the_end()
    Ending("DataLoader worker (pid 7) is killed by signal: Killed. ")
    HalfMade()
    Ending("something else")
    assert said == ["something else"]
