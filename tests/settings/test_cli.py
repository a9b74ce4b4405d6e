"""How commands end: one line and status 2 for what the user can mend, a traceback for a bug or on demand."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException

from bert_lightning.settings.cli import _failure_of_a_point, _messages, _one_line
from data_pipeline.processes.machine_faults import MachineError
from tests.support.checkout import checkout_environment
from tests.support.configs import compose_config

PROGRAM = """
import os, subprocess, sys
from bert_lightning.settings.cli import entry_point
from hydra.errors import InstantiationException

def run(cfg):
    if cfg.output_dir == "value": raise ValueError("batch=3 does not divide\\nby 2")
    if cfg.output_dir == "acting": raise ValueError("HTTP 500 \\x1b[2J")
    if cfg.output_dir == "wrapped": raise RuntimeError("in call") from ValueError("x")
    if cfg.output_dir == "built": raise InstantiationException("outer") from ValueError("inner")
    if cfg.output_dir == "nested": raise ValueError("file x is not text") from ValueError("byte 7")
    if cfg.output_dir == "bug": raise KeyError("a bug")
    if cfg.output_dir == "file": open("/nowhere/at/all")
    if cfg.output_dir == "letters": print("na\\u00efve \\u4e2d\\u6587", file=sys.stderr)
    if cfg.output_dir == "environment": print(subprocess.check_output(["printenv"], text=True))

entry_point("prepare", run)()
print("after it:", os.environ.get("HYDRA_FULL_ERROR"))
"""


def end_of(output_dir: str, tmp_path: Path, *more: str, full: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "corpus=demo", f"output_dir={output_dir}", *more],
        cwd=tmp_path,
        env=checkout_environment(**({"HYDRA_FULL_ERROR": full} if full is not None else {})),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("output_dir", "line"),
    [
        ("value", "error: batch=3 does not divide by 2"),
        ("acting", "error: HTTP 500 \\x1b[2J"),
        ("built", "error: inner"),
        ("nested", "error: file x is not text"),
        ("file", "error: [Errno 2] No such file or directory: '/nowhere/at/all'"),
    ],
)
def test_what_the_user_can_mend_is_one_line(tmp_path: Path, output_dir: str, line: str) -> None:
    done = end_of(output_dir, tmp_path)
    assert (done.returncode, done.stderr) == (2, line + "\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["no_such_key=1", "corpus=nothing", "executor=nowhere", "a=b=[", "/a", "--a=b"])
def test_a_wrong_argument_is_one_line(tmp_path: Path, argument: str) -> None:
    done = end_of("none", tmp_path, argument)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("output_dir", ["bug", "wrapped"])
def test_a_bug_shows_where_it_is(tmp_path: Path, output_dir: str) -> None:
    done = end_of(output_dir, tmp_path)
    assert done.returncode not in (0, 2)
    assert "Traceback" in done.stderr
    assert "in run" in done.stderr


def test_a_traceback_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    assert "Traceback" in end_of("value", tmp_path, full="1").stderr
    assert "Traceback" not in end_of("value", tmp_path, full="0").stderr


@pytest.mark.parametrize("full", [None, "0", "1"])
def test_processes_that_a_command_starts_see_what_the_user_asked_for(tmp_path: Path, full: str | None) -> None:
    lines = end_of("environment", tmp_path, full=full).stdout.splitlines()
    assert [line for line in lines if "HYDRA_FULL_ERROR" in line] == ([f"HYDRA_FULL_ERROR={full}"] if full else [])
    assert lines[-1] == f"after it: {full}"


def test_letters_that_the_locale_cannot_write_are_escapes(tmp_path: Path) -> None:
    environment = checkout_environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    command = [sys.executable, "-c", PROGRAM, "corpus=demo", "output_dir=letters"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"na\\xefve \\u4e2d\\u6587\n")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (OSError(28, "No space left on device"), 75, MachineError),
        (ValueError("data.cache_dir is full"), 2, ValueError),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), 75, MachineError),
        (FileNotFoundError(2, "No such file"), 2, ValueError),
    ],
)
def test_what_the_machine_does_has_a_status_of_its_own(
    error: Exception, status: int, kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    """A search begins such a trial again. A job of a launcher hands on an error in the place of the status."""
    with pytest.raises(SystemExit) as ended, _messages("prepare"):
        raise error
    assert ended.value.code == status
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(kind) as handed_on, _failure_of_a_point("prepare"):
        raise error
    assert type(handed_on.value) is kind


def test_a_key_with_another_name_now_says_what_to_type() -> None:
    with pytest.raises(HydraException) as refused:
        compose_config("evaluate", ["prompting.split=train"])
    assert _one_line(refused.value, "evaluate") == "prompting.split is now split"
