"""The stage of entities: its files are on the disk in the output before the output has its name."""

import os
from pathlib import Path

import pytest

from data_pipeline.preparation.entity_stage import FOLDER, EntitySettings, EntityStage
from data_pipeline.preparation.work_folder import WorkFolder


def test_delivered_files_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    work = WorkFolder(tmp_path / "stage")
    (work.folder(FOLDER) / "titles.txt").write_text("Bern\n")
    EntityStage(work, work.text("text"), work.text("read"), 1, EntitySettings()).deliver(tmp_path / "output")
    assert (tmp_path / "output" / FOLDER / "titles.txt").stat().st_ino in synced
