"""The hidden folder of a preparation: what failed and killed tasks leave goes away, what is copied is on the disk."""

import os
from pathlib import Path

import pytest

from data_pipeline.preparation.work_folder import WorkFolder, copy_to_disk


def test_a_failed_task_leaves_no_files(tmp_path: Path) -> None:

    def task() -> None:
        with WorkFolder(tmp_path).delivered() as scratch:
            (scratch.folder("text") / "0").write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        task()
    assert list(tmp_path.rglob("*")) == [tmp_path / "scratch"]


def test_the_next_run_removes_what_killed_tasks_left_and_keeps_what_was_delivered(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    stage = work.stage("read", {})
    with stage.delivered() as scratch:
        (scratch.folder("text") / "0").write_text("whole")
    (stage.folder("scratch") / "killed").mkdir()
    work.stage("read", {"other": 1}).folder("text")
    work.keep([stage])
    assert list(tmp_path.iterdir()) == [stage.path]
    assert [path.name for path in stage.path.rglob("*")] == ["text", "0"]


def test_a_task_that_outlives_its_run_is_not_finished_once_its_files_are_gone(tmp_path: Path) -> None:
    """On another machine, say: a task that returned without having delivered would be recorded as finished."""
    work = WorkFolder(tmp_path)
    stage = work.stage("read", {})

    def task() -> None:
        with stage.delivered() as scratch:
            (scratch.folder("text") / "0").write_text("whole")
            work.keep([stage])

    with pytest.raises(FileNotFoundError):
        task()
    assert not (stage.path / "text").exists()


def test_a_copy_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "deep" / "file").write_text("text")
    copy_to_disk(tmp_path / "from", tmp_path / "to")
    assert {path.stat().st_ino for path in (tmp_path / "to").rglob("*")} <= synced
