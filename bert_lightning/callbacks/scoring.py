"""The metrics of a task at every validation, from the scores of all its examples on all ranks."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L

from bert_lightning.metrics.collected_scores import CollectedScores, ExampleScores


class Scoring(L.Callback):
    """Log what a task measures on its validation examples as val/<metric>, before the best checkpoint is chosen.

    It listens to the validation pass, so it costs no other pass and works on sharded models.

    Args:
        metrics: Function from the scores of all validation examples to the metrics by name.
    """

    def __init__(self, metrics: Callable[[ExampleScores], Mapping[str, float]]) -> None:
        self._metrics = metrics
        self._collected: CollectedScores | None = None

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Listen to the scores."""
        self._collected = CollectedScores(trainer.datamodule.validation, pl_module.objective.score_rows)
        pl_module.objective.listener = self._collected.add

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Compute the metrics, the same on every rank, and log them."""
        assert self._collected is not None
        pl_module.objective.listener = None
        scores, self._collected = self._collected.gathered(), None
        pl_module.log_values({f"val/{name}": value for name, value in self._metrics(scores).items()})
