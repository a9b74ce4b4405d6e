"""Checkpoints under names that sort: written beside their place, moved there when whole, the oldest removed."""

import os
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bert_lightning.checkpoint import read_checkpoint

FILE_PATTERN = "step-*.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint file to the disk it belongs on, flush it, then give it its name.

    Lightning's own transaction goes through the system's temporary folder, which may be another disk: moving the file
    from there is a copy that a kill or a full disk cuts short under the final name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save `checkpoint` as one file."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint file, or a folder that the sharded strategy has written."""
        return read_checkpoint(Path(path))


def validation_follows(trainer: L.Trainer) -> bool:
    """Return whether the loop validates between the step that was just made and the next one."""
    due = trainer.val_check_batch is not None and trainer.global_step % trainer.val_check_batch == 0
    return trainer.enable_validation and (due or trainer.global_step >= trainer.max_steps)


class PeriodicCheckpoint(Checkpoint):
    """Save every `every_n_steps` steps and at the end, keep the newest `keep_last`.

    The folder is the only state: a run that was moved or killed in the middle of a save goes on as any other. Where a
    validation pass follows the step, the checkpoint is saved after it, so that resuming repeats and misses none.

    Args:
        dirpath: Folder of the checkpoints.
        every_n_steps: Steps between two checkpoints.
        keep_last: Number of checkpoints to keep; None keeps all.
    """

    def __init__(self, dirpath: str | Path, every_n_steps: int, keep_last: int | None = 2) -> None:
        super().__init__()
        if every_n_steps < 1 or (keep_last is not None and keep_last < 1):
            raise ValueError(
                f"callbacks.checkpoint.every_n_steps={every_n_steps} and keep_last={keep_last} must be at least 1"
            )
        self.dirpath = Path(dirpath)
        self.every_n_steps = every_n_steps
        self.keep_last = keep_last
        self.saved_step = -1

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save where a checkpoint is due and no validation follows."""
        if self._is_due(trainer) and not validation_follows(trainer) and self.saved_step != trainer.global_step:
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the checkpoint that waited for the validation."""
        if self._is_due(trainer):
            self.save(trainer)

    def _is_due(self, trainer: L.Trainer) -> bool:
        return trainer.global_step % self.every_n_steps == 0 or trainer.global_step >= trainer.max_steps

    def save(self, trainer: L.Trainer) -> None:
        """Save the state after the current step and remove what is too old; all ranks must call it."""
        path = self.dirpath / f"step-{trainer.global_step:07d}.ckpt"
        trainer.save_checkpoint(path)
        self.saved_step = trainer.global_step
        if trainer.is_global_zero:
            self._remove_old()

    def _remove_old(self) -> None:
        """Remove all but the newest checkpoints, and what a killed save left behind."""
        for leftover in self.dirpath.glob(".step-*.ckpt.partial"):
            _remove(leftover)
        if self.keep_last is not None:
            for path in sorted(self.dirpath.glob(FILE_PATTERN))[: -self.keep_last]:
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint, a file or a folder; a kill in between leaves nothing that looks whole."""
    condemned = path if path.name.startswith(".") else path.rename(path.with_name(f".{path.name}.partial"))
    if condemned.is_dir():
        shutil.rmtree(condemned)
    else:
        condemned.unlink()
