"""A run, a search, an ablation and every kind of fine-tuning needs a folder that none of the others is in."""

from pathlib import Path

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder
from bert_lightning.sweeps import sweep_files
from bert_lightning.sweeps.folder_kinds import (
    ABLATION,
    FINETUNING,
    GRID,
    RUN,
    SEARCH,
    SUITE,
    VARIANTS,
    check_kind,
    kind_of,
)
from tests.support.runs import run_here
from tests.support.settings import Settings
from tests.sweeps.fake_search import FormulaLauncher, search


def make_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    MetricsCsv(folder).log_metrics({"val/loss": 1.0}, 10)


def make(kind: str, folder: Path) -> None:
    """Write what a folder of a kind has as soon as its first run has saved, or as soon as it is finished."""
    if kind in (ABLATION, SUITE, VARIANTS):
        make_run(folder / "some" / "seed-0")
        (folder / {ABLATION: "ablation.json", SUITE: "glue.json", VARIANTS: "variants.json"}[kind]).write_text("{}")
    elif kind == SEARCH:
        SweepFolder(folder).write_study(NotedStudy(None, folder.name))
        make_run(folder / "trial-0000")
    else:
        make_run(folder / {RUN: ".", FINETUNING: "seed-3", GRID: "lr-2e-05_batch-16/seed-0"}[kind])


@pytest.mark.parametrize("kind", [RUN, SEARCH, ABLATION, FINETUNING, GRID, SUITE, VARIANTS])
def test_the_kind_of_a_folder_is_told_by_what_lies_in_it(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "lr"
    assert kind_of(folder) is None
    make(kind, folder)
    assert kind_of(folder) == kind
    check_kind(folder, "lr", kind)
    other = SEARCH if kind != SEARCH else RUN
    with pytest.raises(ValueError, match=f"^run_name=lr: .*/lr holds {kind}, and {other} needs a folder of its own; "):
        check_kind(folder, "lr", other)


def test_trials_and_seeds_are_runs_in_folders_of_their_own(tmp_path: Path) -> None:
    make(SEARCH, tmp_path / "lr")
    make_run(tmp_path / "lr" / "trial-0001" / "seed-0")
    assert [kind_of(tmp_path / "lr" / name) for name in ("trial-0000", "trial-0001", "trial-0002")] == [
        RUN,
        FINETUNING,
        None,
    ]
    assert kind_of(tmp_path) is None


def test_a_finished_fine_tuning_is_one_without_its_seeds(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text("{}")
    assert kind_of(tmp_path) == FINETUNING


@pytest.mark.parametrize("kind", [RUN, ABLATION, FINETUNING, GRID])
def test_a_search_begins_in_no_other_folder(tmp_path: Path, kind: str) -> None:
    make(kind, tmp_path / "lr")
    launcher = FormulaLauncher(tmp_path / "lr")
    with pytest.raises(ValueError, match=f"^run_name=lr: .* holds {kind}, and a search needs a folder of its own"):
        search(launcher, n_trials=1)
    assert not launcher.launched
    assert not launcher.folder.study.exists()
    assert not launcher.folder.journal.exists()


@pytest.mark.parametrize(("kind", "resume"), [(SEARCH, "auto"), (FINETUNING, None)])
def test_a_run_begins_in_no_other_folder(base: Settings, tmp_path: Path, kind: str, resume: str | None) -> None:
    folder = tmp_path / "runs" / "lr"
    make(kind, folder)
    there = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=f"^run_name=lr: .* holds {kind}, and a run needs a folder of its own"):
        run_here(base | {"run_name": "lr"} | ({"resume": resume} if resume else {}))
    assert sorted(folder.rglob("*")) == there


def test_a_search_goes_on_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside trials that have trained."""
    monkeypatch.setattr(sweep_files, "search_page", lambda *ignored: "")
    launcher = FormulaLauncher(tmp_path / "lr")
    search(launcher, n_trials=1)
    make_run(tmp_path / "lr" / "trial-0000")
    assert RunFolder(tmp_path / "lr" / "trial-0000").holds_a_run()
    search(launcher, n_trials=2)
    assert [number for number, _ in launcher.launched] == [0, 1]
