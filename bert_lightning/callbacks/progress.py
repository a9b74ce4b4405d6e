"""Show how far a run is: a bar in a terminal, one line every few steps elsewhere."""

import logging
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import lightning as L
from rich.progress import TaskID

from bert_lightning.objectives.objective import Quantity
from bert_lightning.settings.progress_bars import GAP, SHOWN_BY_BARS, Bars, error_console, open_bars
from bert_lightning.training.modules import TrainingModule
from data_pipeline.streams.phases import Phases
from data_pipeline.whole_numbers import check_whole_number

log = logging.getLogger(__name__)
LOSS = {"train/loss": "loss {:.3f}"}
RUN = {
    "val/loss": "val {:.3f}",
    "throughput/tokens_per_second": "{:,.0f} tok/s",
    "throughput/mfu": "mfu {:.0%}",
    "throughput/data_wait": "wait {:.0%}",
    "throughput/packing_efficiency": "packing {:.0%}",
    "throughput/memory_gb": "{:.1f} GB",
}


def summary(values: Mapping[str, float], quantities: Mapping[str, Quantity]) -> str:
    """Return the values worth a glance in one line.

    >>> accuracy = Quantity("mlm", short_name="mlm")
    >>> values = {"train/loss": 9.12345, "train/mlm_accuracy": 0.25, "val/loss": 8.5, "optim/lr": 0.1}
    >>> summary(values, {"mlm_accuracy": accuracy})
    'loss 9.123  mlm 25.0%  val 8.500'
    """
    named = {f"train/{name}": f"{one.short_name} {{:.1%}}" for name, one in quantities.items() if one.short_name}
    forms = LOSS | named | RUN
    return GAP.join(form.format(values[name]) for name, form in forms.items() if name in values)


def phase_line(phases: Phases, number: int) -> str:
    """Return in one line what a phase is."""
    phase, last = phases[number], phases.last_steps[number]
    share = phase.masking.prediction_share
    masks = "a drawn share" if share is None else f"{share:.3g}"
    return (
        f"phase {number + 1}/{len(phases)}, steps {last - phase.num_steps + 1} to {last}: {phase.global_batch_size} "
        f"examples of at most {phase.seq_len} tokens a step, {masks} of the tokens predicted"
    )


class ProgressReport(L.Callback):
    """Show the step, the last metrics and the time left, on the first rank.

    Args:
        every_n_steps: Steps between two lines if the output is not a terminal.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        check_whole_number("callbacks.progress.every_n_steps", every_n_steps)
        self.every_n_steps = every_n_steps
        self._open = ExitStack()
        self._bars: Bars | None = None
        self._task, self._held_out = TaskID(0), TaskID(0)
        self._begin, self._first_step = 0.0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar if there is a terminal."""
        self._begin, self._first_step = time.monotonic(), trainer.global_step
        console = error_console()
        if trainer.is_global_zero and console.is_terminal:
            self._bars = self._open.enter_context(open_bars(console))
            self._task = self._bars.add_task("training", total=trainer.max_steps, completed=trainer.global_step)
        self._say_phase(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        """Advance the bar, and write a line; in a terminal the line goes into the log of the run alone."""
        step = trainer.global_step
        if self._bars is not None:
            self._bars.update(self._task, completed=step, figures=self._summary(pl_module))
        if trainer.is_global_zero and (step % self.every_n_steps == 0 or step >= trainer.max_steps):
            left = f"{self._seconds_left(trainer):.0f} s left"
            shown = SHOWN_BY_BARS if self._bars is not None else None
            log.info("step %d/%d  %s  %s", step, trainer.max_steps, self._summary(pl_module), left, extra=shown)
        if step in self._phases(trainer).last_steps[:-1]:
            self._say_phase(trainer)

    def _seconds_left(self, trainer: L.Trainer) -> float:
        """Return the time that the other steps take if a token of theirs takes as long as one before."""
        first, now, last = map(
            self._phases(trainer).tokens_of, (self._first_step, trainer.global_step, trainer.max_steps)
        )
        return (time.monotonic() - self._begin) * (last - now) / (now - first)

    def _say_phase(self, trainer: L.Trainer) -> None:
        """Say which phase makes the next step, if there are several."""
        phases = self._phases(trainer)
        if trainer.is_global_zero and len(phases) > 1:
            log.info("%s", phase_line(phases, phases.number_at_step(trainer.global_step + 1)))

    @staticmethod
    def _phases(trainer: Any) -> Phases:
        return trainer.datamodule.phases

    @staticmethod
    def _summary(pl_module: TrainingModule) -> str:
        return summary(pl_module.latest, pl_module.objective.quantities)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open a bar for the held-out split below that of the training."""
        if self._bars is not None:
            total = sum(trainer.num_val_batches)
            self._held_out = self._bars.add_task("held-out", total=total if math.isfinite(total) else None)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Advance the bar for the held-out split."""
        if self._bars is not None:
            self._bars.advance(self._held_out)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the metrics of the held-out split."""
        if self._bars is not None:
            self._bars.remove_task(self._held_out)
        if trainer.is_global_zero:
            latest = pl_module.latest.items()
            held_out = {name: value for name, value in latest if name.startswith("val/") and not math.isnan(value)}
            text = "  ".join(f"{name} {value:.4f}" for name, value in held_out.items())
            log.info("step %d  held-out: %s", trainer.global_step, text)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bars."""
        self._open.close()
        self._bars = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bars, so that the message is not painted over."""
        self.on_train_end(trainer, pl_module)
