"""Processes of bert-prepare that are killed or interrupted: the command ends with one line, and a rerun goes on."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from data_pipeline.preparation.task_processes import run_in_processes
from tests.support.checkout import checkout_environment, run_command
from tests.support.corpora import contents, write_corpus
from tests.support.processes import children, ends, wait_until
from tests.support.tasks import append, end_itself, fail_unsendably, runs


def workers(command: int) -> list[int]:
    """The processes that run tasks: the server of forks has started them."""
    found = []
    for child in children(command):
        with suppress(OSError):
            found += children(child)
    return found


def kill_a_worker(command: subprocess.Popen[str]) -> None:
    """Kill one that works, and another if that one had just made its last task."""

    def kill() -> bool:
        with suppress(OSError, IndexError):
            os.kill(workers(command.pid)[0], signal.SIGKILL)
        return False

    wait_until(kill, command, poll=0.05)


def interrupt_all(command: subprocess.Popen[str]) -> None:
    os.killpg(command.pid, signal.SIGINT)


@pytest.mark.slow
def test_a_killed_worker_and_ctrl_c_end_the_command_and_the_rerun_goes_on(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "text", files=12, documents=60)
    arguments = [
        *("corpus=text", f"corpus.path={source}", "tokenizer.vocab_size=120", "validation_fraction=0.1"),
        *("group_bytes=4000", "shard_tokens=3000", "executor.workers=2"),
    ]
    again = [*arguments, f"output_dir={tmp_path / 'stopped'}"]
    work = tmp_path / ".stopped.preparing"
    kept = f"finished work is kept in {work}, and a rerun with the same input continues there"
    for stage, stop, status, said in (
        ("extract", kill_a_worker, 2, "error: task "),
        ("tokenize", interrupt_all, 130, f"interrupted: {kept}"),
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "bert_lightning.prepare", *again],
            cwd=tmp_path,
            env=checkout_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        wait_until(lambda stage=stage: bool(list(work.glob(f"*/tasks/{stage}/completions/*"))), process)
        at_work = workers(process.pid)
        stop(process)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == status, output
        assert "Traceback" not in output
        assert said in output
        assert all(ends(pid) for pid in at_work)
        assert not (tmp_path / "stopped").exists()
    done = run_command("prepare", *again, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run_command("prepare", *arguments, f"output_dir={tmp_path / 'whole'}", cwd=tmp_path).returncode == 0
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_task_whose_process_ends_is_named(tmp_path: Path) -> None:
    killed = r"task 3 of 'trying' was lost: its process was killed \(SIGKILL\).*lower executor.workers"
    with pytest.raises(ChildProcessError, match=killed):
        run_in_processes("trying", partial(end_itself, 3), range(6), 2)
    with pytest.raises(ChildProcessError, match=r"task [01] of 'trying' was lost: its process ended with status 7"):
        run_in_processes("trying", partial(end_itself, None), range(2), 2)


def test_every_task_runs_once_in_more_or_fewer_processes(tmp_path: Path) -> None:
    for number, processes in enumerate((1, 3, 9)):
        folder = tmp_path / str(number)
        folder.mkdir()
        run_in_processes("trying", partial(append, folder, -1), range(5), processes)
        assert runs(folder) == {str(task): 1 for task in range(5)}


def test_an_error_that_cannot_be_sent_is_still_an_error() -> None:
    with pytest.raises(RuntimeError, match="task 0 failed, and its error cannot be sent"):
        run_in_processes("trying", fail_unsendably, range(1), 1)
