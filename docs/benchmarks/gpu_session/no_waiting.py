"""A callback of bert-pretrain that makes every wait for the device an error."""

from typing import Any

import lightning as L
import torch

WARM_UP = 4


class NoWaiting(L.Callback):
    """Forbid waiting for the device in all steps but the first ones, which compile, and those that log.

    Attributes:
        num_steps: Steps that were watched.
    """

    def __init__(self) -> None:
        self.num_steps = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        """Begin to watch."""
        does_log = (trainer.global_step + 1) % pl_module._log_every_n_steps == 0
        if trainer.global_step < WARM_UP or does_log:
            return
        self.num_steps += 1
        if pl_module.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        """Allow waiting again."""
        if pl_module.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Refuse a run that was too short to say anything."""
        if not self.num_steps:
            raise ValueError(f"trainer.max_steps={trainer.max_steps} leaves no step to watch after the first {WARM_UP}")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Allow waiting to what comes after a failed run in this process."""
        self.on_train_batch_end(trainer, pl_module)
