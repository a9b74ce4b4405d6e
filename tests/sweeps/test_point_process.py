"""A point as a process: its reason to fail, its options, and signals to the sweep."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bert_lightning.sweeps.point_process import PointFailedError, PointKilledError, _reason, run_process
from tests.support.checkout import checkout_environment

PARENT = """
from bert_lightning.sweeps.point_process import PointFailedError, run_point
os.environ["HYDRA_FULL_ERROR"] = "1"  # as a command does for itself
try:
    run_point(["hydra.x=1"], ["seed=1"])
except PointFailedError as error:
    print("failed:", error)
else:
    print("finished")
"""
CHILD = """
import os, signal, sys, time
def note(number, frame):
    print("got", signal.Signals(number).name, flush=True)
    received.append(number)
received = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, note)
print("child", *sys.argv[1:], os.environ.get("HYDRA_FULL_ERROR"), flush=True)
while not received:
    time.sleep(0.01)
time.sleep(0.2)
"""
SCRIPT = 'import os, sys\nif "seed=1" in sys.argv:\n{}\nelse:\n{}\n'


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def start(tmp_path: Path, child: str, *options: str) -> subprocess.Popen[str]:
    """Start a command that runs itself as the process of a point."""
    path = tmp_path / "command.py"
    path.write_text(SCRIPT.format(indented(child), indented(PARENT)))
    return subprocess.Popen(
        [sys.executable, str(path), "--multirun", *options, "seed=1,2"],
        env=checkout_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("number", "to_group", "status"),
    [
        (signal.SIGINT, False, -signal.SIGINT),  # Python's own end after KeyboardInterrupt
        (signal.SIGINT, True, -signal.SIGINT),
        (signal.SIGTERM, False, 128 + signal.SIGTERM),
        (signal.SIGUSR1, False, 128 + signal.SIGUSR1),
    ],
)
def test_a_signal_reaches_the_point_and_ends_the_sweep_after_it(
    tmp_path: Path, number: signal.Signals, to_group: bool, status: int
) -> None:
    """A terminal sends SIGINT to the whole group; the point never gets a second one, which would end it unsaved."""
    process = start(tmp_path, CHILD)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "child hydra.x=1 seed=1 None\n"
        os.killpg(process.pid, number) if to_group else process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert output.count("got SIGINT") == (1 if to_group else 0)
    assert f"got {'SIGTERM' if number == signal.SIGINT else number.name}" in output
    assert "finished" not in output
    assert process.returncode == status, errors


def test_options_of_the_command_are_those_of_the_point(tmp_path: Path) -> None:
    process = start(tmp_path, "print(sys.argv[1:])", "--config-dir=mine", "--config-name", "other")
    output, _ = process.communicate(timeout=60)
    assert output == "['--config-name=other', '--config-dir=mine', 'hydra.x=1', 'seed=1']\nfinished\n"


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        ("print('note', file=sys.stderr)\nprint('error: a=1 is wrong', file=sys.stderr)\nsys.exit(2)", "a=1 is wrong"),
        ("raise KeyError('a bug')", "KeyError: 'a bug'"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL, perhaps because memory was short"),
        ("os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ("sys.exit(3)", "exit status 3"),
    ],
)
def test_a_failure_is_one_line_and_its_errors_are_shown(tmp_path: Path, child: str, reason: str) -> None:
    output, errors = start(tmp_path, child).communicate(timeout=60)
    assert output == f"failed: {reason}\n"
    assert ("error: a=1 is wrong" in errors) == (reason == "a=1 is wrong")


def test_the_last_error_is_the_reason() -> None:
    assert _reason(2, ["error: first", "error: last", "a warning at the end"]) == "last"
    assert _reason(1, ["x", ""]) == "x"


@pytest.mark.parametrize(("status", "goes_on"), [(75, True), (130, True), (1, False), (2, False)])
def test_a_point_that_the_machine_has_failed_can_go_on(
    monkeypatch: pytest.MonkeyPatch, status: int, goes_on: bool
) -> None:
    """So can one that alone was interrupted."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(PointFailedError, match="the disk is full") as ended:
        run_process(["sh", "-c", f"echo error: the disk is full >&2; exit {status}"])
    assert isinstance(ended.value, PointKilledError) == goes_on
