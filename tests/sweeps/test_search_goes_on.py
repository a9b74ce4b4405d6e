"""How trials of a search may end, and which searches go on in a folder."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus

from bert_lightning.callbacks.trial import BY_ITSELF, TOLD_TO_STOP
from bert_lightning.reports.trial_row import COMPLETE, FAILED, PRUNED, STOPPED
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder
from bert_lightning.sweeps import search as search_module
from bert_lightning.sweeps import sweep_files
from bert_lightning.sweeps.outcomes import Results
from bert_lightning.sweeps.study import load_study
from data_pipeline.processes.machine_faults import TRY_AGAIN, MachineError
from tests.sweeps.fake_search import FormulaLauncher, Killed, loss, search, states


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page takes longer than a trial that is a formula."""
    monkeypatch.setattr(sweep_files, "search_page", lambda *ignored: "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["schedule=cosine"], "schedule was not set when the search lr began, is cosine"),
        (["optimizer.lr=tag(log,interval(1e-5,2e-1))"], "optimizer.lr was 1e-05 to 0.1 on a log scale when the search"),
        (["sweep.metric=val/mlm_accuracy"], "sweep.metric was val/loss when the search lr began, is val/mlm_accuracy"),
    ],
)
def test_another_search_is_not_mixed_into_one(tmp_path: Path, words: list[str], said: str) -> None:
    launcher = FormulaLauncher(tmp_path / "lr")
    search(launcher, n_trials=1)
    with pytest.raises(ValueError, match=said.replace("(", "\\(")):
        search(launcher, words, n_trials=2)
    assert len(launcher.launched) == 1
    search(launcher, ["logger=csv", "data.num_workers=3"], n_trials=2)
    assert len(launcher.launched) == 2


def test_a_trial_that_a_callback_has_ended_is_complete_with_its_last_value(tmp_path: Path) -> None:
    """As EarlyStopping does. The search goes on, and so does one that was killed before it could take note."""
    launcher = FormulaLauncher(tmp_path / "lr", ends=lambda number, step: BY_ITSELF if step == 30 else None)
    rows = search(launcher, n_trials=2, pruner=None)
    assert [(row.state, list(row.curve[0])) for row in rows] == [(COMPLETE, [10, 20, 30])] * 2
    assert all(row.value == row.curve[1][-1] for row in rows)
    trained = launcher.launch

    def die_after(job_overrides: list[list[str]], number: int) -> None:
        trained(job_overrides, number)
        raise Killed

    launcher.launch = die_after  # type: ignore[assignment, method-assign]
    with pytest.raises(Killed):
        search(launcher, n_trials=3, pruner=None)
    launcher.launch = trained  # type: ignore[method-assign]
    assert search(launcher, n_trials=3, pruner=None)[2].state in (COMPLETE, PRUNED)
    assert [number for number, _ in launcher.launched] == [0, 1, 2]


def test_a_trial_that_ends_without_a_value_has_failed_and_the_search_goes_on(tmp_path: Path) -> None:
    launcher = FormulaLauncher(tmp_path / "lr")
    launcher._train = lambda number, values: None  # type: ignore[method-assign]
    with pytest.raises(SystemExit) as ended:
        search(launcher, n_trials=3)
    assert ended.value.code == 1
    assert [number for number, _ in launcher.launched] == [0, 1, 2]
    folder = SweepFolder(tmp_path / "lr")
    trials = load_study(folder, NotedStudy(None, "lr")).trials
    assert {trial.user_attrs["error"] for trial in trials} == {
        "its run has ended without a value of sweep.metric=val/loss"
    }


def test_a_trial_that_alone_is_told_to_stop_ends_the_search_and_goes_on_later(tmp_path: Path) -> None:
    launcher = FormulaLauncher(tmp_path / "lr", ends=lambda number, step: TOLD_TO_STOP if step == 30 else None)
    assert [row.state for row in search(launcher, n_trials=3)] == [STOPPED]
    launcher.ends = lambda number, step: None
    assert {row.state for row in search(launcher, n_trials=3)} <= {COMPLETE, PRUNED}
    assert [number for number, _ in launcher.launched] == [0, 0, 1, 2]


def test_a_folder_that_was_renamed_is_refused(tmp_path: Path) -> None:
    """Its study has the old name, so the trials in it would be those of an empty one."""
    search(FormulaLauncher(tmp_path / "old"), n_trials=1)
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(ValueError, match=r"run_name=new, but .*study\.json is of the search old"):
        search(FormulaLauncher(tmp_path / "new"), n_trials=2)
    (tmp_path / "new").rename(tmp_path / "old")
    with pytest.raises(
        ValueError, match=r"hydra\.sweeper\.storage was None when the search old began, is .*/elsewhere"
    ):
        search(FormulaLauncher(tmp_path / "old"), n_trials=2, storage="elsewhere")
    with pytest.raises(ValueError, match="run_name must be letters"):
        search(FormulaLauncher(tmp_path / "_lr"), n_trials=1)


def test_a_torn_journal_anywhere_is_mended(tmp_path: Path) -> None:
    journal = tmp_path / "elsewhere.journal"
    launcher = FormulaLauncher(tmp_path / "lr", journal=journal)
    search(launcher, n_trials=1, storage=str(journal))
    with journal.open("ab") as file:
        file.write(b'{"op_code": 8, "wor')
    assert len(search(launcher, n_trials=2, storage=str(journal))) == 2
    assert len(search(launcher, n_trials=3, storage=str(journal))) == 3


def test_another_spelling_is_the_same_line(tmp_path: Path) -> None:
    launcher = FormulaLauncher(tmp_path / "lr")
    search(launcher, ["trainer.max_steps=1000"], n_trials=1)
    search(launcher, ["trainer.max_steps=1_000", "data.path=./somewhere"], n_trials=2)
    with pytest.raises(ValueError, match=r"trainer\.max_steps was 1000 when the search lr began, is 1001"):
        search(launcher, ["trainer.max_steps=1001"], n_trials=2)
    assert len(launcher.launched) == 2


class FailingLauncher(FormulaLauncher):
    """Every job of it ends with an error."""

    error: Exception

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.launched.append((initial_job_idx, {}))
        job = JobReturn(overrides=list(job_overrides[0]), status=JobStatus.FAILED)
        job.return_value = self.error
        return [job]


def test_a_machine_that_loses_every_trial_ends_the_search(tmp_path: Path) -> None:
    """Otherwise all trials of the search would be drawn without a result to learn from."""
    failing = FailingLauncher(tmp_path / "lr")
    failing.error = MachineError("no space left on device")
    with pytest.raises(SystemExit) as ended:
        search(failing, n_trials=30)
    assert ended.value.code == TRY_AGAIN
    assert [number for number, _ in failing.launched] == [0, 1]
    launcher = FormulaLauncher(tmp_path / "lr")
    rows = search(launcher, n_trials=6)
    assert {row.state for row in rows} <= {COMPLETE, PRUNED}
    assert [number for number, _ in launcher.launched] == list(range(6))


def test_trials_that_are_lost_at_every_start_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """They may need too much memory, and would else end each start of the search before the next trial begins."""

    def lose(number: int, step: int) -> None:
        if number in (0, 1):
            raise RuntimeError("out of memory")

    launcher = FormulaLauncher(tmp_path / "lr", at=lose)
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            search(launcher, n_trials=4)
        assert ended.value.code == TRY_AGAIN
    assert [number for number, _ in launcher.launched] == [0, 1, 0, 1, 2, 3]
    assert states(tmp_path / "lr") == [STOPPED, STOPPED, COMPLETE, COMPLETE]


def test_a_value_that_is_not_finite_is_the_failure_of_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search goes on, and has a page."""
    monkeypatch.undo()
    found = {1: math.inf, 2: math.nan}

    def with_holes(values: dict[str, str], step: int) -> float:
        return found.get(int(values["run_name"][-1]), loss(values, step))

    monkeypatch.setattr("tests.sweeps.fake_search.loss", with_holes)
    launcher = FormulaLauncher(tmp_path / "lr")
    rows = search(launcher, n_trials=4)
    assert [row.state for row in rows] == [COMPLETE, FAILED, FAILED, COMPLETE]
    assert rows[1].error == "its last value is inf, which is no finite number"
    assert SweepFolder(tmp_path / "lr").report.exists()


def test_a_page_that_cannot_be_written_does_not_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def fail(*ignored: object) -> str:
        raise RuntimeError("no chart")

    monkeypatch.setattr(sweep_files, "search_page", fail)
    monkeypatch.setattr(sweep_files.log, "warning", lambda *words: said.append(words[0] % words[1:]))
    rows = search(FormulaLauncher(tmp_path / "lr"), n_trials=2)
    assert [row.state for row in rows] == [COMPLETE] * 2
    assert set(said) == {f"{SweepFolder(tmp_path / 'lr').report} is not written, the search goes on: no chart"}


def test_a_metric_that_no_trial_measures_ends_the_search_with_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = FailingLauncher(tmp_path / "lr")
    launcher.error = ValueError("sweep.metric=val/luck is none of val/loss, val/mlm_loss")
    with pytest.raises(SystemExit) as ended:
        search(launcher, n_trials=5)
    assert ended.value.code == 1
    assert [number for number, _ in launcher.launched] == [0]
    assert "trial 0 failed: sweep.metric=val/luck is none of val/loss" in capsys.readouterr().out


def test_a_metric_that_one_trial_lacks_is_the_failure_of_that_trial(tmp_path: Path) -> None:
    search(FormulaLauncher(tmp_path / "lr"), n_trials=1)
    launcher = FailingLauncher(tmp_path / "lr")
    launcher.error = ValueError("sweep.metric=val/mlm_loss is none of val/loss")
    rows = search(launcher, n_trials=3)
    assert [row.state for row in rows] == [COMPLETE, FAILED, FAILED]


def test_the_folder_of_a_trial_that_has_ended_is_read_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a search parses all metrics.csv twice for every trial."""
    read: list[str] = []

    def counted(run_dir: Path) -> Results:
        read.append(run_dir.name)
        return Results()

    monkeypatch.setattr("bert_lightning.sweeps.trial_rows.results", counted)
    search(FormulaLauncher(tmp_path / "lr"), n_trials=4)
    assert {read.count(name) for name in set(read)} == {2}  # as it begins, and as it has ended


def test_jobs_that_have_not_begun_do_not_hold_up_the_end_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue may take hours; the job that then begins finds that the trials are to end."""
    monkeypatch.setattr(search_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(search_module, "PATIENCE_SECONDS", 0.2)
    queue = threading.Event()

    def wait(number: int, step: int) -> None:
        queue.wait(60)

    launcher = FormulaLauncher(tmp_path / "lr", at=wait)
    try:
        rows = search(launcher, n_trials=2, n_jobs=2, max_time="00:00:00:01")
        assert [row.state for row in rows] == [STOPPED] * 2
        assert launcher.together == 2
    finally:
        queue.set()
    assert {number for number, _ in launcher.launched} == {0, 1}


def test_searches_of_one_name_do_not_mix_in_a_storage_that_they_share(tmp_path: Path) -> None:
    journal = tmp_path / "all.journal"
    mine = FormulaLauncher(tmp_path / "mine" / "lr", journal=journal)
    search(mine, n_trials=1, storage=str(journal))
    yours = FormulaLauncher(tmp_path / "yours" / "lr", journal=journal)
    with pytest.raises(ValueError, match=r"all\.journal holds a search named lr already, but .*yours/lr is not its"):
        search(yours, n_trials=2, enqueue=[{"optimizer.lr": 1e-3}], storage=str(journal))
    assert len(search(mine, n_trials=1, storage=str(journal))) == 1
