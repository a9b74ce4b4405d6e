"""Messages about a run that needs somebody: steps without finite gradients, a loss that jumps, a run told to stop."""

import logging
import math
from collections import deque
from typing import Any

import lightning as L

from bert_lightning.training.preempted_run import was_preempted
from bert_lightning.training.step_guard import NotFiniteError
from data_pipeline.whole_numbers import check_whole_number

log = logging.getLogger(__name__)
LOSS, SKIPPED = "train/loss", "train/skipped_steps"


class Alerts(L.Callback):
    """Write what happens into the log, and send it by every logger that has alerts, on the first rank.

    Args:
        loss_rise: Share by which train/loss is above the mean of the last readings if it counts as a spike; None for
            no alerts about the loss.
        num_readings: Readings in that mean; before there are so many, nothing counts as a spike.
    """

    def __init__(self, loss_rise: float | None = 0.2, num_readings: int = 20) -> None:
        if loss_rise is not None and (not isinstance(loss_rise, int | float) or not loss_rise > 0):
            raise ValueError(f"callbacks.alerts.loss_rise must be a number above 0, or null; got {loss_rise}")
        check_whole_number("callbacks.alerts.num_readings", num_readings)
        self.loss_rise = loss_rise
        self._losses: deque[float] = deque(maxlen=num_readings)
        self._skipped: float | None = None
        self._phase = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with no skipped steps; a run that goes on takes their number from its first reading."""
        self._skipped = 0.0 if trainer.global_step == 0 else None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        """Look at the metrics if the module has just read them."""
        if not trainer.is_global_zero or not pl_module.is_logging_step():
            return
        self._look_at_skipped(trainer, pl_module.latest)
        self._look_at_loss(trainer, pl_module.latest)

    def _look_at_skipped(self, trainer: L.Trainer, latest: dict[str, float]) -> None:
        skipped = latest.get(SKIPPED, 0.0)
        before, self._skipped = self._skipped, skipped
        if before is not None and skipped > before:
            text = f"{skipped - before:.0f} of the steps up to step {trainer.global_step} had no finite gradients"
            self._send(trainer, "NaN or infinite gradients", f"{text} and were skipped", "WARN")

    def _look_at_loss(self, trainer: Any, latest: dict[str, float]) -> None:
        """Compare the loss with the mean of the last readings of the same phase."""
        loss = latest.get(LOSS, math.nan)
        phase = trainer.datamodule.phases.number_at_step(trainer.global_step)
        if phase != self._phase:
            self._losses.clear()
            self._phase = phase
        if self.loss_rise is None or not math.isfinite(loss):
            return
        mean = sum(self._losses) / max(len(self._losses), 1)
        if len(self._losses) == self._losses.maxlen and loss > (1 + self.loss_rise) * mean:
            text = f"{LOSS} is {loss:.3f} at step {trainer.global_step}, and was {mean:.3f} before"
            self._send(trainer, "Loss spike", text, "WARN")
            self._losses.clear()  # one message for each spike
        self._losses.append(loss)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say so if the run was told to stop, or its time is over."""
        if trainer.is_global_zero and was_preempted(trainer):
            text = f"stopped at step {trainer.global_step} of {trainer.max_steps}; resume=auto continues from there"
            self._send(trainer, "Run stopped", text, "INFO", is_logged=False)  # the log has it already

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say so if the run ends for want of finite gradients."""
        if trainer.is_global_zero and isinstance(exception, NotFiniteError):
            self._send(trainer, "Run ended by NaN", str(exception), "ERROR", is_logged=False)

    @staticmethod
    def _send(trainer: L.Trainer, title: str, text: str, level: str, is_logged: bool = True) -> None:
        if is_logged:
            log.warning("%s: %s", title, text)
        for logger in trainer.loggers:
            if hasattr(logger, "alert"):
                logger.alert(title, text, level)
