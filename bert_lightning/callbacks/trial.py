"""A run as a trial of a search: it reports a metric of every validation, and ends early if the search says so."""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import lightning as L

from bert_lightning.distributed.collectives import gather_objects
from bert_lightning.settings.sweep_folder import SweepFolder, import_optuna, open_storage, patiently
from bert_lightning.training.measured_metrics import check_measured
from bert_lightning.training.preempted_run import was_preempted
from data_pipeline.processes.machine_faults import MachineError

log = logging.getLogger(__name__)
T = TypeVar("T")
PRUNED, SECONDS, MAX_STEPS, ENDED = "pruned", "seconds", "max_steps", "ended"
"""Names under which a trial keeps in the study: that it was pruned, how long it has trained, its planned steps, and how
its training has ended, which is null while it trains."""
BY_ITSELF, TOLD_TO_STOP = "by itself", "told to stop"
"""How a training may have ended: at its last step or by a callback, or by a signal or its time, to go on later."""
LOOK_SECONDS = 2.0
"""Seconds between two looks whether the trials are to end."""


class TrialReport(L.Callback):
    """Report a metric to the study after every validation, and stop the run if the pruner says so.

    The run then ends as at its last step: with a checkpoint, its curves and its report. The first rank speaks with the
    study. A trial that goes on from a checkpoint reports nothing twice.

    Args:
        sweep_dir: Folder of the search, which says where the study is kept.
        number: Number of the trial.
        metric: Metric of the validation, such as val/loss.
        seed: Seed of this run.
        first_seed: Seed of the first run of the trial; each further seed is a run after it.
        pruner: The pruner of Optuna; None stops no trial.
        clock: Seconds since any moment.
    """

    def __init__(
        self,
        sweep_dir: str | Path,
        number: int,
        metric: str,
        seed: int = 0,
        first_seed: int = 0,
        pruner: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = SweepFolder(sweep_dir)
        self.metric = metric
        self.pruned = False
        noted = self.folder.read_study()
        if noted is None:
            raise ValueError(f"callbacks.trial.sweep_dir={sweep_dir} is the folder of no search: it has no study.json")
        self._address, self._name, self._number = self.folder.storage(noted), noted.name, number
        self._earlier_runs = seed - first_seed
        self._pruner = pruner
        self._clock = clock
        self._counted_until = self._looked = clock()
        self._told_to_stop = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Fail now, not after the training, if nothing is going to be measured."""
        check_measured("sweep.metric", self.metric, trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the trial in the study."""
        self._counted_until = self._looked = self._clock()
        self._on_first_rank(trainer, lambda: self._find(trainer))

    def _find(self, trainer: L.Trainer) -> None:
        optuna = import_optuna()
        self._storage = open_storage(self._address)
        self._study = optuna.load_study(study_name=self._name, storage=self._storage, pruner=self._pruner)
        study_id = self._storage.get_study_id_from_name(self._name)
        self._trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, self._number)
        self._note(MAX_STEPS, trainer.max_steps)
        self._note(ENDED, None)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Look now and then whether the trials are to end; if so, end as after SIGTERM."""
        if not trainer.is_global_zero or self._told_to_stop or self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        if self.folder.stop.exists():
            self._told_to_stop = True
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Report, and stop on all ranks if the first one learns that the trial is pruned."""
        if self.metric not in pl_module.latest:
            known = ", ".join(name for name in pl_module.latest if name.startswith("val/"))
            raise ValueError(f"sweep.metric={self.metric} is none of {known}")
        value = pl_module.latest[self.metric]
        if self._on_first_rank(trainer, lambda: self._report(trainer, value)):
            self.pruned = True
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note how long the trial has trained, and how that has ended."""
        self._on_first_rank(trainer, lambda: self._end(trainer))

    def _end(self, trainer: L.Trainer) -> None:
        self._count_seconds()
        self._note(ENDED, TOLD_TO_STOP if was_preempted(trainer) else BY_ITSELF)

    def _on_first_rank(self, trainer: L.Trainer, speak: Callable[[], T]) -> T | None:
        """Speak with the study on the first rank, and return there and on the others what it says.

        Raises:
            MachineError: on all ranks, if the storage of the study stays away.
        """
        said, fault = None, None
        if trainer.is_global_zero:
            try:
                said = patiently(self._address, speak)
            except MachineError as error:
                fault = str(error)
        said, fault = gather_objects((said, fault))[0]
        if fault is not None:
            raise MachineError(fault)
        return said

    def _report(self, trainer: L.Trainer, value: float) -> bool:
        """Report the metric of a step; returns whether the trial is to end."""
        step = self._earlier_runs * trainer.max_steps + trainer.global_step
        if step not in self._storage.get_trial(self._trial_id).intermediate_values:
            self._storage.set_trial_intermediate_value(self._trial_id, step, float(value))
        self._count_seconds()
        trial = self._storage.get_trial(self._trial_id)
        if trainer.global_step >= trainer.max_steps or self._pruner is None:
            return False
        if not self._pruner.prune(self._study, trial):
            return False
        self._note(PRUNED, True)
        log.info("trial %d is pruned at step %d: %s=%.4f", self._number, step, self.metric, value)
        return True

    def _count_seconds(self) -> None:
        now = self._clock()
        before = self._storage.get_trial(self._trial_id).user_attrs.get(SECONDS, 0.0)
        self._note(SECONDS, round(before + now - self._counted_until, 2))
        self._counted_until = now

    def _note(self, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._trial_id, name, value)
