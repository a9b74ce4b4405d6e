"""Which metrics the validations of a run are going to have, as far as that is known before the first one."""

from typing import Any

import lightning as L

from bert_lightning.objectives.task_objective import TaskObjective


def check_measured(setting: str, metric: str, trainer: L.Trainer, pl_module: Any) -> None:
    """Raise a ValueError if no validation measures a metric.

    A split of several sources has the names for each of them too. A task measures more than its losses, so its metrics
    are known at its first validation.

    Args:
        setting: The setting that names the metric.
        metric: The metric, such as val/loss.
        trainer: The trainer.
        pl_module: The training module.
    """
    if trainer.limit_val_batches == 0:
        raise ValueError(
            f"{setting}={metric} is measured by no validation: trainer.limit_val_batches=0, or the data has no "
            "held-out documents"
        )
    if isinstance(pl_module.objective, TaskObjective):
        return
    quantities = pl_module.objective.quantities
    perplexities = [quantity.perplexity for quantity in quantities.values() if quantity.perplexity]
    known = [f"val/{name}" for name in ("loss", *quantities, *perplexities)]
    if not any(metric == name or metric.startswith(f"{name}/") for name in known):
        raise ValueError(f"{setting}={metric} is none of {', '.join(known)}")
