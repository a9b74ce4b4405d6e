"""Checkpoints under names that sort: written under another name, renamed when whole, the oldest removed."""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from bert_lightning.checkpoints.disk_space import expected_bytes, missing_space, taken_bytes
from bert_lightning.distributed.collectives import SharedFlags, gather_objects
from bert_lightning.execution.strategies import FullyShardedStrategy
from bert_lightning.settings.run_folder import RunFolder, partial_path, write_whole
from bert_lightning.training.measured_metrics import check_measured
from bert_lightning.training.modules import TrainingModule
from bert_lightning.training.spared_files import goes_on
from bert_lightning.training.validation_turns import validation_follows
from data_pipeline.whole_numbers import check_whole_number

log = logging.getLogger(__name__)


class PeriodicCheckpoint(Checkpoint):
    """Save after so many steps or minutes and at the end, keep the newest `keep_last`, and the best on request.

    The folder is the only state: a run that was moved or killed in the middle of a save goes on as any other. If a
    validation pass follows the step, the checkpoint is saved before it, and a run that goes on from there makes up for
    the validation. If the disk is full, the run goes on without the checkpoint, and ends with an error if it is the
    last one.

    Loggers are told of every checkpoint; `saved_step` is its step, and `owes_validation` says whether a run that goes
    on from it begins with the validation of that step.

    Args:
        run_dir: Folder of the run.
        every_n_steps: Steps between two checkpoints.
        keep_last: Number of checkpoints to keep; None keeps all.
        keep_best: Metric of the validation, such as val/loss, the best of which is saved and kept too.
        best_is: "lowest" or "highest": which value of that metric is the best.
        every_minutes: Most minutes between two checkpoints, on the clock of the first rank; None for no limit.
        clock: Seconds since any moment.
    """

    def __init__(
        self,
        run_dir: str | Path,
        every_n_steps: int,
        keep_last: int | None = 2,
        keep_best: str | None = None,
        best_is: str = "lowest",
        every_minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        check_whole_number("callbacks.checkpoint.every_n_steps", every_n_steps)
        check_whole_number("callbacks.checkpoint.keep_last", keep_last, or_null=True)
        if every_minutes is not None and (not isinstance(every_minutes, int | float) or not every_minutes > 0):
            raise ValueError(
                f"callbacks.checkpoint.every_minutes must be a number above 0, or null; got {every_minutes}"
            )
        if best_is not in ("lowest", "highest"):
            raise ValueError(f"callbacks.checkpoint.best_is must be lowest or highest; got {best_is}")
        self.folder = RunFolder(run_dir)
        self.best_is = best_is
        self.every_n_steps = every_n_steps
        self.keep_last = keep_last
        self.keep_best = keep_best
        self.every_minutes = every_minutes
        self.saved_step = -1
        self.owes_validation = False
        self._best: dict[str, Any] = {}
        self._noted: str | None = None  # the checkpoint that best.json names, an earlier one if the disk was full
        self._clock = clock
        self._saved_at = clock()
        self._time_is_up: SharedFlags | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make sure that all ranks continue from the same checkpoint, and clear away what a killed save has left.

        Raises:
            ValueError: if they do not, or if nothing measures what the best checkpoint is asked for by.
        """
        newest = gather_objects(str(trainer.ckpt_path))
        if len(set(newest)) > 1:
            listed = "; ".join(f"rank {rank}: {path}" for rank, path in enumerate(newest))
            raise ValueError(f"the ranks do not see the same newest checkpoint in {self.folder.checkpoints}: {listed}")
        if trainer.is_global_zero:
            for leftover in self.folder.leftovers():
                remove_checkpoint(leftover)
        if self.keep_best is None:
            for logger in trainer.loggers:
                if (uploads := getattr(logger, "uploads", None)) in ("best", "both"):
                    raise ValueError(
                        f"logger.wandb.checkpoints={uploads} needs callbacks.checkpoint.keep_best=val/loss"
                    )
        else:
            check_measured("callbacks.checkpoint.keep_best", self.keep_best, trainer, pl_module)
            self._best = gather_objects(self.folder.noted_best())[0]
            self._noted = self._best.get("checkpoint")
        self._time_is_up = SharedFlags(1) if self.every_minutes is not None else None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, and say so if the disk has too little room for the checkpoints to come."""
        self._saved_at = self._clock()
        resumed, same_step = trainer.ckpt_path, self.folder.checkpoint(trainer.global_step)
        if resumed is not None and Path(resumed).absolute() == same_step.absolute():
            self.saved_step = trainer.global_step
        if trainer.is_global_zero and (missing := self._missing_space(trainer, pl_module)):
            log.warning("%s; make room, or lower callbacks.checkpoint.keep_last=%s", missing, self.keep_last)

    def _missing_space(self, trainer: L.Trainer, pl_module: L.LightningModule) -> str | None:
        one = expected_bytes(pl_module.parameters())
        if self.keep_last is None:
            copies, replaced = -(-(trainer.max_steps - trainer.global_step) // self.every_n_steps), 0
        else:
            copies = self.keep_last + (self.keep_best is not None) + 1
            replaced = taken_bytes(self.folder.saved())
        return missing_space(self.folder.checkpoints, one, copies, replaced)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save if a checkpoint is due, before the validation that may follow."""
        time_is_up = self._exchange_time(trainer)
        if (time_is_up or self._is_due(trainer)) and self.saved_step != trainer.global_step:
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the best so far, and the last checkpoint of a run that the validation has ended."""
        value = self._value(pl_module)
        is_best = value is not None and self._is_better(value)
        if (is_best or trainer.should_stop) and not self.is_on_disk(trainer):
            self.save(trainer)
        if value is not None and is_best and self.is_on_disk(trainer):
            self._note_best(trainer, value)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait for the message under way."""
        if self._time_is_up is not None:
            self._time_is_up.wait()

    def _exchange_time(self, trainer: L.Trainer) -> bool:
        """Return on all ranks, at the same step, whether the time is up on the clock of the first rank."""
        if self._time_is_up is None or self.every_minutes is None:
            return False
        is_up = trainer.is_global_zero and self._clock() - self._saved_at >= 60 * self.every_minutes
        if is_up:
            self._saved_at = self._clock()  # the others read it one step later, and it is said once
        return self._time_is_up.exchange([is_up])[0]

    def _is_due(self, trainer: L.Trainer) -> bool:
        is_last = trainer.global_step >= trainer.max_steps or trainer.should_stop
        return is_last or trainer.global_step % self.every_n_steps == 0

    def _value(self, pl_module: TrainingModule) -> float | None:
        """Return the metric that the best is chosen by, the same on every rank; None if there is no best to keep."""
        if self.keep_best is None:
            return None
        if self.keep_best not in pl_module.latest:
            known = ", ".join(name for name in pl_module.latest if name.startswith("val/"))
            raise ValueError(f"callbacks.checkpoint.keep_best={self.keep_best} is none of {known}")
        return pl_module.latest[self.keep_best]

    def _is_better(self, value: float) -> bool:
        """Return whether a value of the metric is better than that of the best checkpoint."""
        best, sign = self._best.get(str(self.keep_best)), 1 if self.best_is == "lowest" else -1
        return best is None or sign * value < sign * best or math.isnan(best)

    def is_on_disk(self, trainer: L.Trainer) -> bool:
        """Return whether the checkpoint of the step is whole; one that is being written is waited for.

        All ranks must call it.
        """
        try:
            if isinstance(trainer.strategy, FullyShardedStrategy):
                trainer.strategy.finish_saving()
        except OSError as error:
            log.warning("step %d is not saved, the run goes on: %s", self.saved_step, error)
            self.saved_step = -1
        return self.saved_step == trainer.global_step

    def _note_best(self, trainer: L.Trainer, value: float) -> None:
        """Note that the checkpoint of the step is the best, and remove the one that was."""
        self._best = {"checkpoint": self.folder.checkpoint(trainer.global_step).name, str(self.keep_best): value}
        if trainer.is_global_zero:
            with goes_on(f"{self.folder.best} is not written"):
                write_whole(self.folder.best, json.dumps(self._best))
                self._noted = self._best["checkpoint"]
            self._remove_old()

    def save(self, trainer: L.Trainer, is_last: bool = False) -> None:
        """Save the state after the current step and remove what is too old; all ranks must call it.

        Raises:
            OSError: on every rank, if the last checkpoint of the run cannot be written.
        """
        is_last = is_last or trainer.global_step >= trainer.max_steps or trainer.should_stop
        try:
            trainer.save_checkpoint(self.folder.checkpoint(trainer.global_step))
            if is_last and isinstance(trainer.strategy, FullyShardedStrategy):
                trainer.strategy.finish_saving()
        except OSError as error:
            if is_last:
                raise
            log.warning("step %d is not saved, the run goes on: %s", trainer.global_step, error)
            return
        self.saved_step = trainer.global_step
        self.owes_validation = validation_follows(trainer)
        for logger in trainer.loggers:
            logger.after_save_checkpoint(self)  # type: ignore[arg-type]
        self._saved_at = self._clock()
        if trainer.is_global_zero:
            self._remove_old()

    def _remove_old(self) -> None:
        """Remove all but the newest checkpoints and the best."""
        if self.keep_last is not None:
            for path in self.folder.saved()[: -self.keep_last]:
                if path.name not in (self._best.get("checkpoint"), self._noted):
                    remove_checkpoint(path)


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, a file or a folder; a kill in between leaves nothing that looks whole.

    One that cannot be removed, because somebody protects it or has removed it, stays.
    """
    with goes_on(f"{path} is not removed"):
        condemned = path if path.name.startswith(".") else path.rename(partial_path(path))
        if condemned.is_dir():
            shutil.rmtree(condemned)
        else:
            condemned.unlink()
