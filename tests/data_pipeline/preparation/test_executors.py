"""Executors: each task once, finished ones not again, errors as they were raised."""

import gc
import os
from functools import partial
from pathlib import Path

import pytest

from data_pipeline.preparation.executors import LocalExecutor, Step
from tests.support.tasks import append, runs


@pytest.mark.parametrize("workers", [1, 2])
def test_finished_tasks_are_not_run_again_after_an_error(tmp_path: Path, workers: int) -> None:
    done, log = tmp_path / "done", tmp_path / "log"
    done.mkdir()
    executor = LocalExecutor(workers)
    with pytest.raises(ValueError, match="task 4 is wrong"):
        executor.run("trying", partial(append, done, 4), 5, log)
    before = runs(done)
    assert "4" not in before
    executor.run("trying", partial(append, done, -1), 5, log)
    assert set(runs(done)) == {"0", "1", "2", "3", "4"}
    assert runs(done)["0"] == before["0"] == 1
    executor.run("trying", partial(append, done, -1), 5, log)
    assert runs(done)["4"] == 1


def test_no_tasks_are_done_at_once(tmp_path: Path) -> None:
    LocalExecutor(2).run("trying", partial(append, tmp_path, -1), 0, tmp_path / "log")
    assert runs(tmp_path) == {}


def test_an_error_about_a_file_whose_name_is_no_text_reaches_other_machines(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is damaged"):
        Step(_refuse, 1, tmp_path / "errors")(None, rank=3)
    assert (tmp_path / "errors" / "00003").read_text() == r"ValueError: caf\udce9.txt is damaged"


def test_it_takes_the_cores_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6}, raising=False)
    assert LocalExecutor().workers == 3
    assert LocalExecutor(7).workers == 7


def test_a_task_searches_for_cycles_rarely_and_the_rest_of_the_process_as_before(tmp_path: Path) -> None:
    before = gc.get_threshold()
    LocalExecutor(1).run("trying", partial(_note_threshold, tmp_path), 1, tmp_path / "log")
    assert int((tmp_path / "threshold").read_text()) >= 100_000
    assert gc.get_threshold() == before


@pytest.mark.parametrize("workers", [0, -1, "many", 1.5])
def test_a_number_of_workers_that_is_none_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match=rf"executor\.workers must be a whole number.*{workers}"):
        LocalExecutor(workers)


def _refuse(number: int) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    raise ValueError(f"{name} is damaged")


def _note_threshold(folder: Path, number: int) -> None:
    (folder / "threshold").write_text(str(gc.get_threshold()[0]))
