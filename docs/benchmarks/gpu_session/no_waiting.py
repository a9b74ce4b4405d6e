"""A callback of bert-pretrain that makes every wait for the device an error."""

from typing import Any

import lightning as L
import torch

WARM_UP = 4


class NoWaiting(L.Callback):
    """Forbid waiting for the device in all steps but the first ones, which compile, and those that log.

    The copy of a batch comes before its step begins, so the watch goes on between two steps.

    Attributes:
        num_steps: Steps that were watched.
    """

    def __init__(self) -> None:
        self.num_steps = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        """Begin to watch."""
        does_log = (trainer.global_step + 1) % pl_module._log_every_n_steps == 0
        if trainer.global_step < WARM_UP or does_log:
            _watch(pl_module, "default")
            return
        self.num_steps += 1
        _watch(pl_module, "error")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        """Allow waiting after a step that logs."""
        if trainer.global_step % pl_module._log_every_n_steps == 0:
            _watch(pl_module, "default")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Allow waiting in a validation."""
        _watch(pl_module, "default")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Refuse a run that was too short to say anything."""
        _watch(pl_module, "default")
        if not self.num_steps:
            raise ValueError(f"trainer.max_steps={trainer.max_steps} leaves no step to watch after the first {WARM_UP}")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Allow waiting to what comes after a failed run in this process."""
        _watch(pl_module, "default")


def _watch(pl_module: Any, mode: str) -> None:
    if pl_module.device.type == "cuda":
        torch.cuda.set_sync_debug_mode(mode)
