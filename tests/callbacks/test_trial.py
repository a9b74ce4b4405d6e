"""A run as a trial: what it reports, how it ends when it is pruned, and how it goes on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import optuna
import pytest

from bert_lightning.callbacks import trial
from bert_lightning.callbacks.trial import BY_ITSELF, ENDED, MAX_STEPS, PRUNED, SECONDS, TOLD_TO_STOP, TrialReport
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.pretrain import pretrain
from bert_lightning.settings import sweep_folder
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder, open_storage
from bert_lightning.training.modules import TrainingModule
from data_pipeline.processes.machine_faults import MachineError
from tests.support.runs import compose_here, repeatable, run_here
from tests.support.settings import Settings

NEVER = "{_target_:optuna.pruners.NopPruner}"
AT_ONCE = "{_target_:optuna.pruners.ThresholdPruner,upper:0.0}"


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    """A search with one trial that has begun."""
    folder = SweepFolder(tmp_path / "runs" / "sweep")
    study = optuna.create_study(study_name="sweep", storage=open_storage(str(folder.journal)))
    study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2)})
    folder.write_study(NotedStudy(None, "sweep"))
    return folder


def as_trial(base: Settings, folder: SweepFolder, pruner: str) -> Settings:
    trial = (
        f"{{_target_:bert_lightning.callbacks.trial.TrialReport,sweep_dir:'{folder.path}',"
        f"number:0,metric:val/loss,pruner:{pruner}}}"
    )
    named = {"run_name": "sweep/trial-0000", "resume": "auto", "+callbacks.trial": trial, "callbacks.guesses": None}
    return base | named


def stored(folder: SweepFolder) -> optuna.trial.FrozenTrial:
    (trial,) = optuna.load_study(study_name="sweep", storage=open_storage(str(folder.journal))).trials
    return trial


def test_every_validation_is_reported_once(base: Settings, sweep: SweepFolder) -> None:
    """A run that goes on from a checkpoint, and validates a step again, reports nothing twice."""
    settings = as_trial(base, sweep, NEVER)
    run_here(settings)
    reported = stored(sweep).intermediate_values
    steps, losses = read_columns(sweep.trial(0) / "metrics.csv")["val/loss"]
    assert reported == pytest.approx(dict(zip(steps, losses, strict=True)))
    assert stored(sweep).user_attrs[MAX_STEPS] == 14
    seconds = stored(sweep).user_attrs[SECONDS]
    for checkpoint in RunFolder(sweep.trial(0)).newer_than(5):
        checkpoint.unlink()
    run_here(settings)
    assert stored(sweep).intermediate_values == reported
    assert stored(sweep).user_attrs[SECONDS] > seconds


def test_a_pruned_run_ends_with_its_checkpoint_and_curves(base: Settings, sweep: SweepFolder) -> None:
    settings = as_trial(base, sweep, AT_ONCE) | {"callbacks.checkpoint.every_n_steps": 1000}
    trainer = run_here(settings)
    assert trainer.global_step == 5
    folder = RunFolder(sweep.trial(0))
    assert [path.name for path in folder.saved()] == ["step-0000005.ckpt"]
    assert read_columns(folder.metrics)["val/loss"][0] == [5]
    assert folder.report.exists()
    assert stored(sweep).user_attrs[PRUNED] is True
    assert list(stored(sweep).intermediate_values) == [5]


def test_a_run_ends_when_the_trials_are_to_end(
    base: Settings, sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saves and ends as after SIGTERM, without a further validation."""
    monkeypatch.setattr("bert_lightning.callbacks.trial.LOOK_SECONDS", 0.0)
    sweep.stop.touch()
    settings = as_trial(base, sweep, NEVER)
    trainer = run_here(settings)
    assert trainer.global_step < 5
    assert len(RunFolder(sweep.trial(0)).saved()) == 1
    assert stored(sweep).intermediate_values == {}
    assert stored(sweep).user_attrs[ENDED] == TOLD_TO_STOP


def test_a_metric_that_is_not_measured_is_named(base: Settings, sweep: SweepFolder) -> None:
    settings = as_trial(base, sweep, NEVER)
    settings["+callbacks.trial"] = str(settings["+callbacks.trial"]).replace("val/loss", "val/luck")
    with pytest.raises(ValueError, match=r"sweep\.metric=val/luck is none of val/loss, "):
        run_here(settings)
    assert not RunFolder(sweep.trial(0)).saved()


class Killed(BaseException):
    """The end of the process, which nothing can catch in time."""


@pytest.mark.parametrize("logger", ["csv", "none"])
def test_the_last_validation_is_made_up_for(
    base: Settings, sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    """The run was killed in it, after its last checkpoint: it validates, and makes no step."""
    settings = as_trial(base, sweep, NEVER) | {"logger": logger, "callbacks.checkpoint.keep_last": 9}
    validated = TrainingModule.on_validation_epoch_end

    def kill(module: TrainingModule) -> None:
        if module.global_step == 14:
            raise Killed
        validated(module)

    monkeypatch.setattr(TrainingModule, "on_validation_epoch_end", kill)
    with pytest.raises(Killed):
        run_here(settings)
    assert list(stored(sweep).intermediate_values) == [5, 10]
    assert stored(sweep).user_attrs[ENDED] is None
    monkeypatch.undo()
    assert run_here(settings).global_step == 14
    assert list(stored(sweep).intermediate_values) == [5, 10, 14]
    assert stored(sweep).user_attrs[ENDED] == BY_ITSELF
    assert pretrain(compose_here("pretrain", settings)) is None
    if logger == "csv":
        run_here(base | {"run_name": "whole", "callbacks.guesses": None})
        assert repeatable(sweep.trial(0)) == repeatable(sweep.path.parent / "whole")


def test_a_kill_between_metrics_and_the_study_loses_no_value(
    base: Settings, sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, report = as_trial(base, sweep, NEVER), TrialReport._report

    def kill(trial: TrialReport, trainer: L.Trainer, value: float) -> bool:
        if trainer.global_step == 14:
            raise Killed
        return report(trial, trainer, value)

    with monkeypatch.context() as patched:
        patched.setattr(TrialReport, "_report", kill)
        with pytest.raises(Killed):
            run_here(settings)
    steps, losses = read_columns(sweep.trial(0) / "metrics.csv")["val/loss"]
    assert (steps, list(stored(sweep).intermediate_values)) == ([5, 10, 14], [5, 10])
    run_here(settings)
    assert stored(sweep).intermediate_values == pytest.approx(dict(zip(steps, losses, strict=True)))
    assert stored(sweep).user_attrs[ENDED] == BY_ITSELF
    assert RunFolder(sweep.trial(0)).report.exists()


def test_a_trial_that_cannot_be_measured_does_not_train(base: Settings, sweep: SweepFolder) -> None:
    with pytest.raises(ValueError, match=r"sweep\.metric=val/loss is measured by no validation"):
        run_here(as_trial(base, sweep, NEVER) | {"trainer.limit_val_batches": 0})
    assert not RunFolder(sweep.trial(0)).saved()


def test_all_ranks_end_alike_if_the_storage_stays_away(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rank alone speaks with it, and tells the others what came of it."""
    told: list[Any] = []

    def gather(value: Any) -> list[Any]:
        told.append(value)
        return told[:1]

    def refuse() -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(sweep_folder, "PAUSES", ())
    monkeypatch.setattr(trial, "gather_objects", gather)
    sweep.write_study(NotedStudy("postgresql://host/db", "sweep"))
    report = TrialReport(sweep.path, 0, "val/loss")
    for is_first in (True, False):
        trainer: Any = SimpleNamespace(is_global_zero=is_first)
        with pytest.raises(MachineError, match=r"storage=postgresql://host/db does not answer: refused"):
            report._on_first_rank(trainer, refuse)
    assert len(told) == 2
