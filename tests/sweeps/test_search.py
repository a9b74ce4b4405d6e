"""A search: enough trials and no more, each in its own folder, whatever ends the command in between."""

import csv
import signal
import threading
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from bert_lightning.callbacks.trial import BY_ITSELF, TOLD_TO_STOP
from bert_lightning.reports.trial_row import COMPLETE, FAILED, PRUNED, STOPPED, TrialRow
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder
from bert_lightning.sweeps import search as search_module
from bert_lightning.sweeps.search_settings import PRUNER, SAMPLER, SearchSettings, read_settings
from bert_lightning.sweeps.study import load_study
from tests.sweeps.fake_search import STEPS, FormulaLauncher, Killed, loss, search


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page takes longer than a trial that is a formula."""
    monkeypatch.setattr(search_module, "write_search_report", lambda *ignored: None)


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


def test_a_sampler_and_a_pruner_may_be_given_by_their_names(tmp_path: Path) -> None:
    """Without a pruner every trial makes all its steps; a seed draws the same values again."""
    names = {"sampler": "optuna.samplers.RandomSampler", "pruner": "optuna.pruners.NopPruner"}
    first = search(FormulaLauncher(tmp_path / "a"), n_trials=3, **names)
    again = search(FormulaLauncher(tmp_path / "b"), n_trials=3, **names)
    other = search(FormulaLauncher(tmp_path / "c"), n_trials=3, seed=1, **names)
    assert chosen(first) == chosen(again)
    assert chosen(first) != chosen(other)
    assert len({row.values["optimizer.lr"] for row in first}) == 3


def test_a_larger_number_of_trials_is_the_total(tmp_path: Path) -> None:
    launcher = FormulaLauncher(tmp_path / "lr")
    search(launcher, n_trials=3)
    search(launcher, n_trials=5)
    search(launcher, n_trials=4)
    assert [number for number, _ in launcher.launched] == list(range(5))


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


@pytest.mark.parametrize(
    ("sweeper", "said"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials"),
        ({"max_time": "8h"}, "hydra.sweeper.max_time must be DD:HH:MM:SS"),
        ({"keep_weights": "some"}, "hydra.sweeper.keep_weights must be one of all, best; got some"),
        ({"enqueue": [{"seed": 1}]}, "hydra.sweeper.enqueue names seed, which is not searched: optimizer.lr"),
        ({"enqueue": [{"optimizer.lr": 3}]}, "optimizer.lr=3, but the search is over 1e-05 to 0.1 on a log scale"),
        ({"sampler._target_": "optuna.samplers.Nobody"}, "hydra.sweeper.sampler"),
        ({"pruner": "optuna.pruners.Nobody"}, "hydra.sweeper.pruner=.*Nobody"),
        ({"pruner.n_laps": 3}, "hydra.sweeper.pruner.*n_laps"),
        ({"timeout": 5}, "hydra.sweeper.timeout is none of the settings of a search: n_trials, "),
        ({"sampler": "optuna.samplers.BruteForceSampler"}, "hydra.sweeper.sampler=optuna.samplers.BruteForceSampler"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_written(
    tmp_path: Path, sweeper: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        search(FormulaLauncher(tmp_path / "lr"), **sweeper)
    assert not (tmp_path / "lr" / "trials.csv").exists()


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
    interrupted: list[int] = []

    def at(number: int, step: int) -> None:
        if number == 3 and step == 30 and not interrupted:
            interrupted.append(number)
            signal.raise_signal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else (
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            )
        if interrupted and len(interrupted) == 1:
            stop = SweepFolder(tmp_path / "lr").stop
            for _ in range(600):
                if stop.exists():
                    break
                threading.Event().wait(0.05)

    launcher = FormulaLauncher(tmp_path / "lr", at=at)
    with pytest.raises(SystemExit) as ended:
        search(launcher, n_trials=8, n_jobs=2)
    assert ended.value.code == 130
    begun = len(launcher.launched)
    assert begun < 8
    folder = SweepFolder(tmp_path / "lr")
    noted = folder.read_study()
    assert noted is not None
    states = [trial.state for trial in load_study(folder, noted).trials]
    assert states.count(TrialState.RUNNING) >= 1
    interrupted.append(-1)
    rows = search(launcher, n_trials=8, n_jobs=2)
    assert {row.state for row in rows} <= {COMPLETE, PRUNED}
    assert len(rows) == 8


def test_a_lost_job_goes_on_at_the_next_start(tmp_path: Path) -> None:
    """A launcher raises what is the loss of a job; the others go on."""
    lost: list[int] = []

    def lose(number: int, step: int) -> None:
        if number == 1 and step == 30 and not lost:
            lost.append(number)
            raise RuntimeError("the job has no result")

    launcher = FormulaLauncher(tmp_path / "lr", at=lose)
    rows = search(launcher, n_trials=4)
    assert rows[1].state == STOPPED
    assert {row.state for row in search(launcher, n_trials=4)} <= {COMPLETE, PRUNED}
    assert [number for number, _ in launcher.launched] == [0, 1, 2, 3, 1]


def test_the_time_of_a_start_is_limited(tmp_path: Path) -> None:
    """The trials save and end; the same line goes on."""
    folder = SweepFolder(tmp_path / "lr")

    def wait(number: int, step: int) -> None:
        if number == 1 and step == 20 and waits:
            for _ in range(600):
                if folder.stop.exists():
                    break
                threading.Event().wait(0.05)

    waits = [True]
    launcher = FormulaLauncher(tmp_path / "lr", at=wait)
    rows = search(launcher, n_trials=3, max_time="00:00:00:03")
    assert [row.state for row in rows] == [COMPLETE, STOPPED]
    waits.clear()
    assert [row.state for row in search(launcher, n_trials=3)][1:] != [STOPPED]


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
    with pytest.raises(SystemExit):
        search(launcher, n_trials=3)
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
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.storage was None when the search old began, is elsewhere"):
        search(FormulaLauncher(tmp_path / "old"), n_trials=2, storage="elsewhere")
    with pytest.raises(ValueError, match="run_name must be letters"):
        search(FormulaLauncher(tmp_path / "_lr"), n_trials=1)


@pytest.mark.parametrize("sampler", ["BruteForceSampler", "GridSampler"])
def test_a_grid_that_is_exhausted_ends_the_search(tmp_path: Path, sampler: str) -> None:
    """Every point of it is tried once, also if the search is killed; another start adds none."""
    grid = {"optimizer.lr": [1e-3, 1e-2], "model.num_attention_heads": [1, 2]}
    given = {"_target_": f"optuna.samplers.{sampler}"} | ({"search_space": grid} if sampler == "GridSampler" else {})
    words = ["optimizer.lr=1e-3,1e-2", "model.num_attention_heads=1,2"]

    def kill(number: int, step: int) -> None:
        if number == 2 and not dead:
            dead.append(number)
            raise Killed

    dead: list[int] = []
    launcher = FormulaLauncher(tmp_path / "lr", at=kill)
    with pytest.raises(Killed):
        search(launcher, words, n_trials=9, sampler=given, pruner=None)
    for _ in range(2):
        rows = search(launcher, words, n_trials=9, sampler=given, pruner=None)
        assert [row.state in (COMPLETE, PRUNED) for row in rows] == [True] * 4
        assert len({tuple(row.values.values()) for row in rows}) == 4


def test_a_sampler_of_another_class_is_not_given_what_it_does_not_take(tmp_path: Path) -> None:
    """Hydra merges a sampler of the user's own with the options of the default."""
    settings = read_settings({"sampler": {**SAMPLER, "_target_": "optuna.samplers.QMCSampler", "qmc_type": "halton"}})
    assert settings.sampler == {"_target_": "optuna.samplers.QMCSampler", "qmc_type": "halton"}
    assert settings.pruner == PRUNER
    percentile = {**PRUNER, "_target_": "optuna.pruners.PercentilePruner", "percentile": 75.0}
    assert read_settings({"pruner": percentile}).pruner == percentile
    launcher = FormulaLauncher(tmp_path / "lr")
    assert len(search(launcher, n_trials=2, **{"pruner._target_": "optuna.pruners.NopPruner"})) == 2


def test_the_defaults_are_those_of_the_file() -> None:
    """A sweeper that is not built upon the file has them too."""
    given = OmegaConf.load(Path(CONF_DIR) / "hydra" / "sweeper" / "optuna.yaml")
    assert isinstance(given, DictConfig)
    of_file = {str(key): value for key, value in given.items() if key not in ("_target_", "_recursive_", "params")}
    assert read_settings(of_file) == read_settings({}) == SearchSettings()


def test_a_sampler_that_lacks_a_package_says_so_before_the_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(self: object, *args: object) -> None:
        raise ModuleNotFoundError("No module named 'cmaes'")

    monkeypatch.setattr("optuna.samplers.CmaEsSampler.sample_relative", lack)
    with pytest.raises(ValueError, match=r"sampler=optuna\.samplers\.CmaEsSampler cannot work: No .* 'cmaes'"):
        search(FormulaLauncher(tmp_path / "lr"), n_trials=1, sampler="optuna.samplers.CmaEsSampler")


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
