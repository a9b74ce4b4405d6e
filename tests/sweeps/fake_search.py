"""A search on the real settings whose trials are a formula: no model, no process, the same study."""

import csv
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from bert_lightning.callbacks.trial import ENDED, MAX_STEPS, PRUNED
from bert_lightning.reports.trial_row import TrialRow
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.sweep_folder import SweepFolder, open_storage
from bert_lightning.sweeps.search import Search

Rows = list[TrialRow]
SPACE = ["optimizer.lr=tag(log,interval(1e-5,1e-1))", "model.num_attention_heads=1,2,4"]
STEPS = range(10, 70, 10)


class Killed(BaseException):
    """The end of the process, which nothing can catch in time."""


def loss(values: dict[str, str], step: int) -> float:
    """A bowl around lr=1e-3 that sinks with the steps."""
    return (
        (math.log10(float(values["optimizer.lr"])) + 3) ** 2 + int(values["model.num_attention_heads"]) / 8 + 9 / step
    )


class FormulaLauncher:
    """Reports the formula at every step as a trial does, prunes, and keeps what it was asked to run.

    Args:
        folder: Folder of the search.
        at: Called with the number and the step of every report; may raise.
        fails: Whether a trial with some values fails.
        ends: How a trial ends after a step, in the words of the callback; None if it goes on.
        journal: Where the study is kept, if it is not in the folder.
    """

    def __init__(
        self,
        folder: Path,
        at: Callable[[int, int], None] = lambda number, step: None,
        fails: Callable[[dict[str, str]], bool] = lambda values: False,
        ends: Callable[[int, int], str | None] = lambda number, step: None,
        journal: str | Path | None = None,
    ) -> None:
        self.folder, self.at, self.fails, self.ends, self.journal = SweepFolder(folder), at, fails, ends, journal
        self.launched: list[tuple[int, dict[str, str]]] = []
        self.together = self.most_together = 0
        self._lock = threading.Lock()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        ((overrides,), number) = (job_overrides, initial_job_idx)
        values = dict(each.split("=", 1) for each in overrides if not each.startswith("+callbacks"))
        values["run_name"] = values["run_name"].strip("'")
        with self._lock:
            self.launched.append((number, values))
            self.together += 1
            self.most_together = max(self.most_together, self.together)
        job = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
        try:
            if self.fails(values):
                job.status, job.return_value = JobStatus.FAILED, ValueError("no such head")
            else:
                self._train(number, values)
        finally:
            with self._lock:
                self.together -= 1
        return [job]

    def _train(self, number: int, values: dict[str, str]) -> None:
        storage = open_storage(str(self.journal or self.folder.journal))
        name = storage.get_all_studies()[0].study_name
        pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_min_trials=2)
        study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
        trial_id = next(trial._trial_id for trial in study.trials if trial.number == number)
        storage.set_trial_user_attr(trial_id, MAX_STEPS, STEPS[-1])
        for step in STEPS:
            self.at(number, step)
            if self.folder.stop.exists():
                return
            storage.set_trial_intermediate_value(trial_id, step, loss(values, step))
            if step < STEPS[-1] and pruner.prune(study, storage.get_trial(trial_id)):
                storage.set_trial_user_attr(trial_id, PRUNED, True)
                return
            if end := self.ends(number, step):
                storage.set_trial_user_attr(trial_id, ENDED, end)
                return


def states(folder: Path) -> list[str]:
    """Return what trials.csv says of the trials now."""
    with SweepFolder(folder).trials.open() as file:
        return [row["state"] for row in csv.DictReader(file)]


class Loader:
    """Stands for Hydra's loader of configs, which takes a second for each composition."""

    def get_group_options(self, group: str) -> list[str]:
        return ["a", "b"] if group in ("model", "logger", "schedule") else []


def compose(loader: object, config: DictConfig, number: int, overrides: Sequence[str]) -> DictConfig:
    """Stands for the composition of the settings of a run: those that a search reads."""
    values = dict(each.split("=", 1) for each in overrides if not each.startswith("+"))
    run_dir = f"{values['output_dir']}/{values['run_name']}"
    sweep = {"metric": values.get("sweep.metric", "val/loss"), "direction": None}
    return OmegaConf.create({"run_name": values["run_name"], "run_dir": run_dir, "seed": 0, "sweep": sweep})


def search(launcher: FormulaLauncher, words: Sequence[str] = (), in_turn: bool | None = None, **sweeper: Any) -> Rows:
    """Run the search of a command line with `--multirun hydra/sweeper=optuna` and return its trials.

    Args:
        launcher: Runs the trials.
        words: Overrides of the command line.
        in_turn: Whether the launcher runs one after another; None: if there is one trial at a time.
        sweeper: Settings of hydra.sweeper, with dots for those of its groups.
    """
    path = launcher.folder.path
    given = OmegaConf.load(Path(CONF_DIR) / "hydra" / "sweeper" / "optuna.yaml")
    for key, value in sweeper.items():
        OmegaConf.update(given, key, value)
    plain = {str(key): value for key, value in given.items() if key not in ("_target_", "_recursive_", "params")}
    config = OmegaConf.create(
        {
            "hydra": {
                "hydra_logging": {"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO"}},
                "verbose": False,
                "job": {"name": "pretrain", "config_name": "pretrain"},
                "runtime": {"config_sources": []},
            }
        }
    )
    settings = [f"output_dir={path.parent}", f"run_name={path.name}", "data.path=somewhere", *SPACE, *words]
    in_turn = plain["n_jobs"] == 1 if in_turn is None else in_turn
    context: Any = HydraContext(Loader(), None)  # type: ignore[arg-type]
    with (
        patch("bert_lightning.sweeps.search.compose", compose),
        patch("bert_lightning.sweeps.search.check_measured", lambda settings: None),
    ):
        return Search(context, config, launcher, in_turn, plain).run(settings)  # type: ignore[arg-type]
