"""A rank whose launcher is gone or stays stopped ends, by force if it must; others are left alone."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.checkout import checkout_environment
from tests.support.processes import children, ends, runs

LAUNCHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]])
"""
RANK = """
import os, signal, time
from bert_lightning.distributed.launcher import watch_launcher
if {deaf}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
watch_launcher({environment}, poll_seconds=0.05, stopped_seconds=0.5, grace_seconds=0.5)
print("ready", flush=True)
time.sleep(600)
"""
BY_TORCHRUN = {"TORCHELASTIC_RUN_ID": "x"}


def launch(environment: dict[str, str], deaf: bool = False) -> tuple[subprocess.Popen[str], int]:
    """Start a launcher and its rank, which is ready when this returns."""
    rank = RANK.format(environment=environment, deaf=deaf)
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, rank],
        env=checkout_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "ready\n"
    return launcher, children(launcher.pid)[0]


@pytest.mark.parametrize(("number", "deaf"), [(signal.SIGKILL, False), (signal.SIGKILL, True), (signal.SIGSTOP, False)])
def test_a_rank_ends_with_its_launcher(number: signal.Signals, deaf: bool) -> None:
    launcher, rank = launch(BY_TORCHRUN, deaf)
    launcher.send_signal(number)
    assert ends(rank)
    launcher.kill()


def test_a_process_that_nobody_launched_outlives_its_shell() -> None:
    launcher, rank = launch({})
    launcher.kill()
    launcher.wait()
    assert not ends(rank, seconds=1)
    os.kill(rank, signal.SIGKILL)


def test_a_rank_goes_on_if_its_launcher_is_stopped_for_a_moment() -> None:
    launcher, rank = launch(BY_TORCHRUN)
    launcher.send_signal(signal.SIGSTOP)
    launcher.send_signal(signal.SIGCONT)
    assert not ends(rank, seconds=1)
    assert runs(rank)
    launcher.kill()
    assert ends(rank)
