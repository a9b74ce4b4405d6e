"""Checkpoints under names that sort: written beside their place, moved there when whole, the oldest removed."""

import json
import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bert_lightning.checkpoints.checkpoint import read_checkpoint
from bert_lightning.distributed.collectives import gather_objects
from bert_lightning.execution.strategies import FullyShardedStrategy
from bert_lightning.settings.run_folder import RunFolder, partial_path, write_whole
from data_pipeline.whole_numbers import check_whole_number

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint file to the disk it belongs on, flush it, then give it its name.

    Lightning's own transaction goes through the system's temporary folder, which may be another disk: moving the file
    from there is a copy that a kill or a full disk cuts short under the final name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save `checkpoint` as one file."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(target)
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch turns the error of a write into a RuntimeError
            partial.unlink(missing_ok=True)
            raise OSError(f"{target} could not be saved: {error}") from error
        partial.replace(target)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint file, or a folder that the sharded strategy has written."""
        return read_checkpoint(Path(path))


def validation_follows(trainer: L.Trainer) -> bool:
    """Return whether the loop validates between the step that was just made and the next one.

    A run that ends validates once more, whether all steps are made or a callback such as EarlyStopping has ended it.
    """
    due = trainer.val_check_batch is not None and trainer.global_step % trainer.val_check_batch == 0
    return trainer.enable_validation and (due or trainer.global_step >= trainer.max_steps or trainer.should_stop)


class PeriodicCheckpoint(Checkpoint):
    """Save every `every_n_steps` steps and at the end, keep the newest `keep_last`, and the best where asked.

    The folder is the only state: a run that was moved or killed in the middle of a save goes on as any other. Where a
    validation pass follows the step, the checkpoint is saved after it, so that resuming repeats and misses none. Where
    the disk is full the run goes on without the checkpoint, and ends with an error if it is the last one.

    Args:
        run_dir: Folder of the run.
        every_n_steps: Steps between two checkpoints.
        keep_last: Number of checkpoints to keep; None keeps all.
        keep_best: Metric of the validation, such as val/loss, the lowest of which is saved and kept too.
    """

    def __init__(
        self, run_dir: str | Path, every_n_steps: int, keep_last: int | None = 2, keep_best: str | None = None
    ) -> None:
        super().__init__()
        check_whole_number("callbacks.checkpoint.every_n_steps", every_n_steps)
        check_whole_number("callbacks.checkpoint.keep_last", keep_last, or_null=True)
        self.folder = RunFolder(run_dir)
        self.every_n_steps = every_n_steps
        self.keep_last = keep_last
        self.keep_best = keep_best
        self.saved_step = -1
        self._best: dict[str, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make sure that all ranks continue from the same checkpoint, and clear away what a killed save has left."""
        found = gather_objects(str(trainer.ckpt_path))
        if len(set(found)) > 1:
            listed = "; ".join(f"rank {rank}: {path}" for rank, path in enumerate(found))
            raise ValueError(f"the ranks do not see the same newest checkpoint in {self.folder.checkpoints}: {listed}")
        if trainer.is_global_zero:
            for leftover in self.folder.leftovers():
                _remove(leftover)
        if self.keep_best is not None:
            self._best = gather_objects(_read_json(self.folder.best))[0]

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save where a checkpoint is due and no validation follows."""
        if self._is_due(trainer) and not validation_follows(trainer) and self.saved_step != trainer.global_step:
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the checkpoint that waited for the validation, and the best so far."""
        is_best = self.keep_best is not None and self._improves(trainer, pl_module)
        if self._is_due(trainer) or is_best:
            self.save(trainer)
        if is_best and trainer.is_global_zero and self.saved_step == trainer.global_step:
            write_whole(self.folder.best, json.dumps(self._best))
            self._remove_old()

    def _is_due(self, trainer: L.Trainer) -> bool:
        is_last = trainer.global_step >= trainer.max_steps or trainer.should_stop
        return is_last or trainer.global_step % self.every_n_steps == 0

    def _improves(self, trainer: L.Trainer, pl_module: Any) -> bool:
        """Take note where the metric, which is the same on every rank, is lower than ever."""
        assert self.keep_best is not None
        if self.keep_best not in pl_module.latest:
            known = ", ".join(name for name in pl_module.latest if name.startswith("val/"))
            raise ValueError(f"callbacks.checkpoint.keep_best={self.keep_best} is none of {known}")
        value = pl_module.latest[self.keep_best]
        if value >= self._best.get(self.keep_best, math.inf):
            return False
        self._best = {"checkpoint": self.folder.checkpoint(trainer.global_step).name, self.keep_best: value}
        return True

    def save(self, trainer: L.Trainer, is_last: bool = False) -> None:
        """Save the state after the current step and remove what is too old; all ranks must call it.

        Raises:
            OSError: where the last checkpoint of the run cannot be written, on every rank alike.
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
        if trainer.is_global_zero:
            self._remove_old()

    def _remove_old(self) -> None:
        """Remove all but the newest checkpoints and the best."""
        if self.keep_last is not None:
            for path in self.folder.saved()[: -self.keep_last]:
                if path.name != self._best.get("checkpoint"):
                    _remove(path)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _remove(path: Path) -> None:
    """Remove a checkpoint, a file or a folder; a kill in between leaves nothing that looks whole."""
    condemned = path if path.name.startswith(".") else path.rename(partial_path(path))
    if condemned.is_dir():
        shutil.rmtree(condemned)
    else:
        condemned.unlink()
