"""SIGTERM and SIGUSR1: finish the step, agree among the ranks, save, stop.

Lightning's own handlers broadcast and save inside the signal handler, which deadlocks with several ranks. These only
set a flag; the collective work is done after a step, where every rank is.
"""

import logging
import signal
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from bert_lightning.callbacks.checkpointing import PeriodicCheckpoint, validation_follows
from bert_lightning.collectives import any_rank

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preemption(Checkpoint):
    """Save a checkpoint and stop when any rank is told to.

    It is a `Checkpoint` so that Lightning calls it after the callbacks whose state it saves.

    Args:
        check_every_n_steps: Steps between two agreements; each is a small reduction that waits for the device.
    """

    def __init__(self, check_every_n_steps: int = 1) -> None:
        if check_every_n_steps < 1:
            raise ValueError(f"callbacks.preemption.check_every_n_steps={check_every_n_steps} must be at least 1")
        super().__init__()
        self.check_every_n_steps = check_every_n_steps
        self.preempted = False
        self._signalled = False
        self._previous: dict[signal.Signals, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Fail now rather than at the signal where nothing can save."""
        self._saver(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over from Lightning, which registered its handlers before this hook."""
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Stop after this step where a rank was signalled.

        Where a validation pass follows, the state is saved at once and the run stops after the next step, so that its
        row is not missing from the metrics; where the time runs out before, the saved state is there.
        """
        if trainer.global_step % self.check_every_n_steps or not any_rank(
            self._signalled, trainer.strategy.root_device
        ):
            return
        saver = self._saver(trainer)
        if saver.saved_step != trainer.global_step:
            saver.save(trainer, is_last=True)
        if validation_follows(trainer):
            return
        self.preempted = True
        trainer.should_stop = True
        trainer.limit_val_batches = 0  # stopping early validates otherwise, and the time to stop in is short
        log.warning("told to stop: saved step %d; resume=auto continues from there", trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self.on_train_end(trainer, pl_module)

    def _saver(self, trainer: Any) -> PeriodicCheckpoint:
        savers = [callback for callback in trainer.callbacks if isinstance(callback, PeriodicCheckpoint)]
        if not savers:
            raise ValueError("callbacks.preemption needs callbacks.checkpoint, which saves the state")
        return savers[0]
