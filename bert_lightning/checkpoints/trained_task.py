"""What the settings of a fine-tuned model tell of the task that it was trained on."""

from collections.abc import Mapping
from typing import Any

from bert_lightning.checkpoints.checkpoint import Pretrained
from data_pipeline.tasks.encoded import BOTH_ORDERS
from data_pipeline.tasks.glue import GLUE_TASKS, GlueTask


def trained_glue_task(model: Pretrained) -> GlueTask | None:
    """Return the task of GLUE that a model was trained on, None if its checkpoint tells of none."""
    task = _task(model)
    return GLUE_TASKS.get(str(task.get("name"))) if str(task.get("_target_")).endswith(".glue_task") else None


def trained_on_pairs(model: Pretrained) -> bool | None:
    """Return whether the texts of a model's fine-tuning were pairs, None if its checkpoint does not tell.

    A Hugging Face folder tells nothing of its task.
    """
    if model.head is not None and model.head.extract == BOTH_ORDERS:
        return True
    if (known := trained_glue_task(model)) is not None:
        return known.text_pair is not None
    task = _task(model)
    return task["text_pair"] is not None if "text_pair" in task else None


def _task(model: Pretrained) -> Mapping[str, Any]:
    task = model.settings.get("task")
    return task if isinstance(task, Mapping) else {}
