"""The rows of a run on their way to W&B: each step once, and whole, however often the run is stopped or killed.

W&B takes no second row for a step, and a kill loses what it has not written yet. So a row waits here until the next
step has values, and a run that goes on first sends what metrics.csv has and W&B lacks.
"""

from collections.abc import Mapping
from math import inf, isnan
from pathlib import Path
from typing import Any

from bert_lightning.metrics.metrics_log import STEP, read_rows
from data_pipeline.pairs.pair_labels import PAIR_LABELS

STEP_AXIS, TOKEN_AXIS = "trainer/step", "progress/tokens"
"""Axes of the charts; a row has the first always, and the second if a reading of the training is in it."""
HELD_OUT = "val/"
LOW_IS_GOOD = ("loss", "perplexity", "bits_per_byte", "loss_per_byte", "squared_error")
"""Endings of metrics of which the lowest value is the best."""
NEITHER_IS_GOOD = (*(labels.names[1] for labels in PAIR_LABELS.values()), "threshold")
"""Endings of metrics that have no better values: shares of the data, and what answers are compared with."""


def better(name: str, value: float, best: float) -> bool:
    """Return whether a value of a metric is better than the best so far.

    >>> better("val/mlm_loss/books", 2.0, 2.5), better("val/mlm_accuracy", 0.2, 0.25)
    (True, False)
    """
    return value < best if _quantity(name).endswith(LOW_IS_GOOD) else value > best


def _quantity(name: str) -> str:
    """Return a metric without its split and its source."""
    return name.split("/")[1]


class WandbRows:
    """Send rows to a run of W&B.

    Args:
        run: The run of W&B.
        metrics: The metrics.csv of the run, which has every value so far.
        last_sent: Last step that W&B has a row of, -1 without any.
    """

    def __init__(self, run: Any, metrics: Path, last_sent: int) -> None:
        self._run = run
        self._metrics = metrics
        self._last_sent = last_sent
        self._step = -1
        self._row: dict[str, Any] = {}
        self._best: dict[str, float] = {}

    def add(self, values: Mapping[str, Any], step: int) -> None:
        """Add values to the row of a step; the row of an earlier step is whole then, and is sent."""
        if self._step < 0:
            self._catch_up(step)
        elif step != self._step:
            self._send()
        self._step = step
        self._row |= values

    def finish(self, awaited_step: int = -1) -> None:
        """Send the last row; a run that has added none sends what metrics.csv has and W&B lacks.

        Args:
            awaited_step: Step whose row stays behind if it has no held-out values: the run that goes on from there
                begins with that validation, and sends the whole row.
        """
        if self._step < 0:
            self._catch_up(inf)
        has_validated = any(name.startswith(HELD_OUT) for name in self._row)
        if has_validated or self._step != awaited_step:
            self._send()

    def _catch_up(self, step: float) -> None:
        """Send the rows that an earlier part of the run has kept in metrics.csv alone, and take over that of `step`."""
        for earlier, cells in sorted(read_rows(self._metrics).items()):
            if earlier <= step:
                self._step = earlier
                self._row = {name: float(cell) for name, cell in cells.items() if name != STEP}
            if earlier < step:
                self._send()

    def _send(self) -> None:
        """Send the row, or, if W&B has one of its step, only what the summary says."""
        if not self._row:
            return
        row = {STEP_AXIS: self._step, **self._row}
        if self._step > self._last_sent:
            self._run.log(row, step=self._step)
            self._last_sent = self._step
        else:
            self._run.summary.update({name: value for name, value in row.items() if isinstance(value, int | float)})
        if improved := self._improved():
            self._run.summary.update(improved)
        self._row = {}

    def _improved(self) -> dict[str, float]:
        """Return the held-out values of the row that are the best so far, for the summary, and their steps."""
        changes: dict[str, float] = {}
        for name, value in self._row.items():
            if not name.startswith(HELD_OUT) or not isinstance(value, float) or isnan(value):
                continue
            is_no_better = name in self._best and not better(name, value, self._best[name])
            if is_no_better or _quantity(name).endswith(NEITHER_IS_GOOD):
                continue
            self._best[name] = value
            changes |= {f"best/{name}": value, f"best_step/{name}": self._step}
        return changes
