"""A search: enough trials and no more, each in its own folder, whatever ends the command in between."""

import csv
import signal
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from bert_lightning.reports.trial_row import COMPLETE, FAILED, PRUNED, RUNNING, STOPPED, TrialRow
from bert_lightning.settings.sweep_folder import SweepFolder
from bert_lightning.sweeps import sweep_files
from bert_lightning.sweeps.study import load_study
from data_pipeline.processes.machine_faults import TRY_AGAIN
from tests.sweeps.fake_search import STEPS, FormulaLauncher, Killed, loss, search, states


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page takes longer than a trial that is a formula."""
    monkeypatch.setattr(sweep_files, "search_page", lambda *ignored: "")


def chosen(rows: list[TrialRow]) -> list[tuple[int, dict[str, object]]]:
    return [(row.number, dict(row.values)) for row in rows]


def test_a_search_ends_with_its_trials_sorted_and_the_best_to_run_again(tmp_path: Path) -> None:
    launcher = FormulaLauncher(tmp_path / "lr", fails=lambda values: values["model.num_attention_heads"] == "4")
    rows = search(launcher, n_trials=14, enqueue=[{"model.num_attention_heads": 4}, {"optimizer.lr": 1e-3}])
    assert [row.number for row in rows] == list(range(14)) == [number for number, _ in launcher.launched]
    assert len({values["run_name"] for _, values in launcher.launched}) == 14
    assert rows[0].state == FAILED
    assert rows[0].error == "no such head"
    assert rows[1].values["optimizer.lr"] == 1e-3
    by_state = {state: [row for row in rows if row.state == state] for state in (COMPLETE, PRUNED, FAILED)}
    assert all(by_state.values())
    assert sum(map(len, by_state.values())) == 14
    for row in by_state[COMPLETE]:
        values = {key: str(value) for key, value in row.values.items()}
        assert row.value == loss(values, STEPS[-1])
        assert list(row.curve[0]) == list(STEPS)
    assert all(row.curve[0][-1] < STEPS[-1] for row in by_state[PRUNED])

    best = min(by_state[COMPLETE], key=lambda row: row.value or 0)
    folder = SweepFolder(tmp_path / "lr")
    with folder.trials.open() as file:
        table = list(csv.DictReader(file))
    assert [(int(each["number"]), each["state"]) for each in table] == [(row.number, row.state) for row in rows]
    assert float(table[best.number]["optimizer.lr"]) == best.values["optimizer.lr"]
    again = OmegaConf.load(folder.best)
    assert again.optimizer.lr == best.values["optimizer.lr"]
    assert again.data.path == "somewhere"
    assert list(again.defaults) == ["pretrain", "_self_"]
    assert folder.best.read_text().startswith(f"# Trial {best.number} of the search")


@pytest.mark.parametrize(("number", "step"), [(0, 10), (3, 40), (7, 10), (1, 60)])
def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, number: int, step: int) -> None:
    """The trial that was running is continued under its number; what is suggested after it is the same."""
    whole = search(FormulaLauncher(tmp_path / "whole"), n_trials=10)

    def kill(at_number: int, at_step: int) -> None:
        if (at_number, at_step) == (number, step) and not dead:
            dead.append(at_number)
            raise Killed

    dead: list[int] = []
    launcher = FormulaLauncher(tmp_path / "killed", at=kill)
    with pytest.raises(Killed):
        search(launcher, n_trials=10)
    again = search(launcher, n_trials=10)
    assert [each for each, _ in launcher.launched] == sorted([*range(10), number])
    assert chosen(again) == chosen(whole)
    assert [row.state for row in again] == [row.state for row in whole]
    assert search(launcher, n_trials=10) == again
    assert len(launcher.launched) == 11


def test_a_trial_that_ended_while_nobody_looked_is_not_run_again(tmp_path: Path) -> None:
    """The command was killed between the last report of a trial and the note that it is complete, or pruned."""
    launcher = FormulaLauncher(tmp_path / "lr")
    trained = launcher.launch

    def die_after(job_overrides: list[list[str]], number: int) -> None:
        trained(job_overrides, number)
        raise Killed

    for _ in range(6):
        launcher.launch = die_after  # type: ignore[assignment, method-assign]
        with pytest.raises(Killed):
            search(launcher, n_trials=6)
    launcher.launch = trained  # type: ignore[method-assign]
    rows = search(launcher, n_trials=6)
    assert [number for number, _ in launcher.launched] == list(range(6))
    assert {row.state for row in rows} == {COMPLETE, PRUNED}


def test_a_larger_number_of_trials_is_the_total(tmp_path: Path) -> None:
    launcher = FormulaLauncher(tmp_path / "lr")
    search(launcher, n_trials=3)
    search(launcher, n_trials=5)
    search(launcher, n_trials=4)
    assert [number for number, _ in launcher.launched] == list(range(5))


def test_trials_run_side_by_side(tmp_path: Path) -> None:
    """Neither waits for the other: a short trial is followed by the next while a long one runs."""
    others_done = threading.Event()
    ended: list[int] = []

    def at(number: int, step: int) -> None:
        if number == 0 and step == STEPS[-1]:
            assert others_done.wait(60)
        if step == STEPS[-1] or (number and step == STEPS[0]):
            ended.append(number)
        if len(set(ended)) >= 3:
            others_done.set()

    launcher = FormulaLauncher(tmp_path / "lr", at=at)
    rows = search(launcher, n_trials=8, n_jobs=2)
    assert launcher.most_together == 2
    assert sorted(number for number, _ in launcher.launched) == list(range(8))
    assert {row.state for row in rows} <= {COMPLETE, PRUNED}


def test_ctrl_c_ends_the_running_trials_so_that_they_can_go_on(tmp_path: Path) -> None:
    """Two trials run; both are told to stop, no other begins, and the same line goes on with them."""
    folder = SweepFolder(tmp_path / "lr")
    both_run = threading.Event()
    interrupts = [signal.SIGINT]

    def at(number: int, step: int) -> None:
        if interrupts and number == 4:
            both_run.set()
            await_stop(folder)
        if interrupts and number == 3:
            assert both_run.wait(60)
            signal.pthread_kill(threading.main_thread().ident or 0, interrupts[0])
            await_stop(folder)

    launcher = FormulaLauncher(folder.path, at=at)
    with pytest.raises(SystemExit) as ended:
        search(launcher, n_trials=8, n_jobs=2)
    assert ended.value.code == 130
    assert sorted(number for number, _ in launcher.launched) == list(range(5))
    noted = folder.read_study()
    assert noted is not None
    trials = load_study(folder, noted).trials
    assert [trial.state for trial in trials[3:]] == [TrialState.RUNNING] * 2
    assert states(folder.path)[3:] == [STOPPED] * 2
    interrupts.clear()
    rows = search(launcher, n_trials=8, n_jobs=2)
    assert {row.state for row in rows} <= {COMPLETE, PRUNED}
    assert len(rows) == 8


def await_stop(folder: SweepFolder) -> None:
    for _ in range(600):
        if folder.stop.exists():
            break
        threading.Event().wait(0.05)


def test_a_second_signal_does_not_wait_for_the_trials_and_keeps_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is that of the first."""
    folder, goes_on = SweepFolder(tmp_path / "lr"), threading.Event()

    def at(number: int, step: int) -> None:
        if number == 1:
            main = threading.main_thread().ident or 0
            signal.pthread_kill(main, signal.SIGHUP)
            await_stop(folder)
            signal.pthread_kill(main, signal.SIGTERM)
            goes_on.wait(60)

    try:
        with pytest.raises(SystemExit) as ended:
            search(FormulaLauncher(folder.path, at=at), in_turn=False, n_trials=3)
    finally:
        goes_on.set()
    assert ended.value.code == 128 + signal.SIGHUP
    assert states(folder.path) == [COMPLETE, STOPPED]
    assert f"trials: {folder.trials}" in capsys.readouterr().out


def test_a_lost_job_goes_on_at_the_next_start(tmp_path: Path) -> None:
    """A launcher raises what is the loss of a job; the others go on."""
    lost: list[int] = []

    def lose(number: int, step: int) -> None:
        if number == 1 and step == 30 and not lost:
            lost.append(number)
            raise RuntimeError("the job has no result")

    launcher = FormulaLauncher(tmp_path / "lr", at=lose)
    with pytest.raises(SystemExit) as ended:
        search(launcher, n_trials=4)
    assert ended.value.code == TRY_AGAIN
    assert states(tmp_path / "lr")[1] == STOPPED
    assert {row.state for row in search(launcher, n_trials=4)} <= {COMPLETE, PRUNED}
    assert [number for number, _ in launcher.launched] == [0, 1, 2, 3, 1]


def test_the_table_says_which_trials_run(tmp_path: Path) -> None:
    """A lost one does not, though the search goes on; nor does one that waits for another to go on."""
    said: dict[tuple[int, int], list[str]] = {}

    def at(number: int, step: int) -> None:
        said[number, step] = states(tmp_path / "lr")
        if number == 1 and step == 30:
            raise RuntimeError("the job has no result")
        if number == 2 and step == 20 and not again:
            raise Killed

    again: list[bool] = []
    launcher = FormulaLauncher(tmp_path / "lr", at=at)
    with pytest.raises(Killed):
        search(launcher, n_trials=3)
    assert said[1, 10] == [COMPLETE, RUNNING]
    assert said[2, 10] == [COMPLETE, STOPPED, RUNNING]
    again.append(True)
    with pytest.raises(SystemExit):
        search(launcher, n_trials=3)
    assert said[1, 10] == [COMPLETE, RUNNING, STOPPED]


def test_the_time_of_a_start_is_limited(tmp_path: Path) -> None:
    """The trials save and end; the same line goes on."""
    folder = SweepFolder(tmp_path / "lr")

    def wait(number: int, step: int) -> None:
        if number == 1 and step == 20 and waits:
            await_stop(folder)

    waits = [True]
    launcher = FormulaLauncher(tmp_path / "lr", at=wait)
    rows = search(launcher, n_trials=3, max_time="00:00:00:03")
    assert [row.state for row in rows] == [COMPLETE, STOPPED]
    waits.clear()
    rows = search(launcher, n_trials=3)
    assert {row.state for row in rows} <= {COMPLETE, PRUNED}
    assert len(rows) == 3


def test_the_weights_of_the_losers_are_deleted_on_request(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "lr")

    def save(number: int, step: int) -> None:
        checkpoint = folder.trial(number) / "checkpoints" / f"step-{step:07d}.ckpt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.touch()

    rows = search(FormulaLauncher(tmp_path / "lr", at=save), n_trials=6, keep_weights="best")
    best = min((row for row in rows if row.state == COMPLETE), key=lambda row: row.value or 0)
    kept = {path.parent.parent for path in folder.path.glob("trial-*/checkpoints/*.ckpt")}
    assert kept == {folder.trial(best.number)}


def test_several_trials_at_a_time_need_a_launcher_that_makes_jobs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_jobs=2 needs a launcher that makes jobs"):
        search(FormulaLauncher(tmp_path / "lr"), in_turn=True, n_jobs=2)
