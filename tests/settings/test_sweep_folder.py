"""The folder of a search: what is noted there, and a journal that was cut short."""

from pathlib import Path

import optuna
import pytest

from bert_lightning.settings import sweep_folder
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder, cut_torn_line, open_storage, patiently
from data_pipeline.processes.machine_faults import MachineError
from tests.support.checkout import ROOT


def test_where_the_study_is_kept_is_noted(tmp_path: Path) -> None:
    """A folder that is moved takes its journal along."""
    folder = SweepFolder(tmp_path / "lr")
    assert folder.read_study() is None
    folder.write_study(NotedStudy(None, "lr"))
    folder.path.rename(tmp_path / "moved")
    moved = SweepFolder(tmp_path / "moved")
    noted = moved.read_study()
    assert noted == NotedStudy(None, "lr")
    assert moved.storage(noted) == str(tmp_path / "moved" / "study.journal")
    moved.study.write_text('{"storage": 3}')
    with pytest.raises(ValueError, match=r"study\.json"):
        moved.read_study()


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    """What is written after half a line would be lost with it."""
    journal = tmp_path / "study.journal"
    cut_torn_line(str(journal))
    optuna.create_study(study_name="a", storage=open_storage(str(journal)))
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(whole[: len(whole) // 2].rstrip(b"\n"))
    cut_torn_line(str(journal))
    assert journal.read_bytes() == whole
    optuna.create_study(study_name="b", storage=open_storage(str(journal)))
    assert {each.study_name for each in open_storage(str(journal)).get_all_studies()} == {"a", "b"}


def test_a_line_that_another_process_writes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is cut under the lock of the journal, if it is still torn then."""
    journal = tmp_path / "study.journal"
    journal.write_bytes(b"{1}\n{2")

    def finish(self: object) -> bool:
        journal.write_bytes(b"{1}\n{2}\n{3}\n")
        return True

    monkeypatch.setattr("optuna.storages.journal.JournalFileOpenLock.acquire", finish)
    monkeypatch.setattr("optuna.storages.journal.JournalFileOpenLock.release", lambda self: None)
    cut_torn_line(str(journal))
    assert journal.read_bytes() == b"{1}\n{2}\n{3}\n"


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.storage=nothing://x cannot be opened"):
        open_storage("nothing://x")
    with pytest.raises(MachineError, match=r"hydra\.sweeper\.storage=sqlite:////nowhere/x\.db cannot be opened"):
        open_storage("sqlite:////nowhere/x.db")


@pytest.mark.parametrize("failures", [2, 3])
def test_a_storage_that_does_not_answer_is_asked_again_and_then_named(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    monkeypatch.setattr(sweep_folder, "PAUSES", (0.0, 0.0))
    errors = [optuna.exceptions.StorageInternalError("in the commit") for _ in range(failures)]

    def speak() -> str:
        if errors:
            raise errors.pop() from ConnectionError("refused")
        return "answer"

    address = "postgresql://me:secret@host/db"
    if failures == 2:
        assert patiently(address, speak) == "answer"
        return
    with pytest.raises(MachineError, match=r"storage=postgresql://me:\*\*\*@host/db does not answer: refused"):
        patiently(address, speak)


def test_the_docs_name_every_file(tmp_path: Path) -> None:
    table = (ROOT / "docs" / "sweeps.md").read_text()
    files = [value for name, value in vars(SweepFolder(tmp_path)).items() if name != "path"]
    assert len(files) > 5
    assert [file.name for file in files if f"| `{file.name}` |" not in table] == []
