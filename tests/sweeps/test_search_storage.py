"""The storage of a search: found again from every folder, never begun anew, spoken with until it answers."""

import random
import stat
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf
from optuna.exceptions import StorageInternalError

from bert_lightning.report_runs import report
from bert_lightning.reports.trial_row import COMPLETE, PRUNED
from bert_lightning.settings import sweep_folder
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder, open_storage
from bert_lightning.sweeps import point_process, sweep_files
from bert_lightning.sweeps import study as study_module
from data_pipeline.processes.machine_faults import MachineError
from hydra_plugins.bert_lightning_sweeps import ProcessLauncher
from tests.sweeps.fake_search import FormulaLauncher, search


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page takes longer than a trial that is a formula."""
    monkeypatch.setattr(sweep_files, "search_page", lambda *ignored: "")


def test_a_search_whose_study_is_gone_does_not_begin_anew(tmp_path: Path) -> None:
    """Its folders hold trials with other values, which would be gone on with."""
    folder = SweepFolder(tmp_path / "lr")
    launcher = FormulaLauncher(folder.path, at=lambda number, step: folder.trial(number).mkdir(exist_ok=True))
    search(launcher, n_trials=2)
    journal = folder.journal
    whole = journal.read_bytes()
    said = r"lr holds the search lr, but hydra\.sweeper\.storage=.*/study\.journal has no study of that name"
    journal.unlink()
    for _ in range(2):  # the first try leaves no empty study behind
        with pytest.raises(ValueError, match=said):
            search(launcher, ["optimizer.weight_decay=1"], n_trials=3, seed=5)
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:8]))
    with pytest.raises(ValueError, match=said):
        search(launcher, n_trials=3)
    folder.study.unlink()
    journal.write_bytes(b"")
    with pytest.raises(ValueError, match=said):
        search(launcher, n_trials=3)
    journal.write_bytes(whole)
    assert len(search(launcher, n_trials=3)) == 3
    assert [number for number, _ in launcher.launched] == [0, 1, 2]


@pytest.mark.parametrize("storage", ["rel.journal", "sqlite:///rel.db"])
def test_a_storage_is_the_same_one_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    file = one / storage.rpartition("/")[2]
    whole = storage.replace(file.name, str(file))
    launcher = FormulaLauncher(tmp_path / "lr", journal=whole)
    monkeypatch.chdir(one)
    search(launcher, n_trials=1, storage=storage)
    assert launcher.folder.read_study() == NotedStudy(whole, "lr")
    monkeypatch.chdir(two)
    report([str(launcher.folder.path)])
    with pytest.raises(ValueError, match=rf"storage was .*{file} when the search lr began, is .*{two / file.name}"):
        search(launcher, n_trials=2, storage=storage)
    assert len(search(launcher, n_trials=2, storage=whole)) == 2
    launcher.folder.write_study(NotedStudy(storage, "lr"))  # as earlier versions have noted it
    with pytest.raises(ValueError, match=r"has no study of that name"):
        search(launcher, n_trials=3, storage=storage)
    assert list(two.iterdir()) == []
    monkeypatch.chdir(one)
    assert len(search(launcher, n_trials=3, storage=storage)) == 3
    one.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    launcher.journal = whole.replace(str(one), str(tmp_path / "moved"))
    assert len(search(launcher, n_trials=4, storage=storage)) == 4
    assert [number for number, _ in launcher.launched] == [0, 1, 2, 3]


def test_a_password_stays_in_a_file_that_its_owner_alone_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in no override of a trial, so neither in its files nor in its line, and in no message."""
    journal = tmp_path / "database.journal"
    monkeypatch.setattr(study_module, "open_storage", lambda address: open_storage(str(journal)))
    overrides: list[str] = []

    class Recording(FormulaLauncher):
        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
            overrides.extend(job_overrides[0])
            return super().launch(job_overrides, initial_job_idx)

    launcher = Recording(tmp_path / "lr", journal=journal)
    search(launcher, n_trials=1, storage="postgresql://me:secret@host/db")
    assert "secret" not in " ".join(overrides)
    assert any(each.startswith("+callbacks.trial=") for each in overrides)
    assert stat.S_IMODE(launcher.folder.study.stat().st_mode) == 0o600
    assert len(search(launcher, n_trials=2, storage="postgresql://me:changed@host/db")) == 2
    with pytest.raises(ValueError, match="storage was postgresql") as refused:
        search(launcher, n_trials=3)
    assert "changed" not in str(refused.value)


def test_the_line_of_a_trial_does_not_name_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody on the machine sees the lines of processes."""
    lines: list[list[str]] = []
    monkeypatch.setattr(point_process, "run_point", lambda of_hydra, words: lines.append([*of_hydra, *words]))
    given = ["hydra/sweeper=optuna", "hydra.mode=MULTIRUN", "hydra.sweeper.storage=postgresql://me:secret@host/db"]
    loader = SimpleNamespace(load_sweep_config=lambda config, words: OmegaConf.create({"run_dir": str(tmp_path)}))
    launcher = ProcessLauncher()
    config = OmegaConf.create({"hydra": {"overrides": {"hydra": given}}})
    context: Any = SimpleNamespace(config_loader=loader)
    launcher.setup(hydra_context=context, task_function=lambda config: None, config=config)
    launcher.launch([["seed=1"]], 3)
    assert lines == [["hydra/sweeper=optuna", "hydra.mode=RUN", "hydra.job.num=3", "seed=1"]]


@pytest.mark.parametrize("seed", range(3))
def test_a_storage_that_fails_now_and_then_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Before it has heard, or before it has answered: nothing is begun or told twice, and nothing is left out."""
    whole = search(FormulaLauncher(tmp_path / "whole"), n_trials=8, enqueue=[{"optimizer.lr": 1e-3}])
    luck = random.Random(seed)
    failures: list[str] = []

    def flaky(address: str) -> Any:
        storage = open_storage(address)
        for name in dir(storage):
            if name.startswith(("get_", "set_", "create_")):
                monkeypatch.setattr(storage, name, fails_at_times(name, getattr(storage, name)))
        return storage

    def fails_at_times(name: str, speak: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            when = luck.random()
            if when < 0.02:
                failures.append(name)
                raise StorageInternalError("not heard") from ConnectionError("database is locked")
            answer = speak(*args, **options)
            if when < 0.04:
                failures.append(name)
                raise StorageInternalError("not answered") from ConnectionError("database is locked")
            return answer

        return call

    monkeypatch.setattr(sweep_folder, "PAUSES", (0.0,) * 9)
    monkeypatch.setattr(study_module, "open_storage", flaky)
    launcher = FormulaLauncher(tmp_path / "flaky")
    rows = search(launcher, n_trials=8, enqueue=[{"optimizer.lr": 1e-3}])
    assert len(set(failures)) > 3
    assert [number for number, _ in launcher.launched] == list(range(8))
    assert [(row.values, row.state, row.value) for row in rows] == [(row.values, row.state, row.value) for row in whole]
    assert {row.state for row in rows} == {COMPLETE, PRUNED}


def test_a_storage_that_stays_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was asked last, and as a fault of the machine."""

    def at(number: int, step: int) -> None:
        if number == 1:
            for name in ("get_all_trials", "get_study_user_attrs"):
                monkeypatch.setattr(f"optuna.storages.JournalStorage.{name}", refuse)

    def refuse(*ignored: Any, **options: Any) -> None:
        raise StorageInternalError("away") from ConnectionError("refused")

    monkeypatch.setattr(sweep_folder, "PAUSES", ())
    launcher = FormulaLauncher(tmp_path / "lr")
    monkeypatch.setattr(launcher, "_train", lambda number, values: at(1, 0))
    with pytest.raises(MachineError, match=r"storage=.*study\.journal does not answer: refused"):
        search(launcher, n_trials=3)
    assert SweepFolder(tmp_path / "lr").trials.exists()
