"""The classes of transformers for fine-tuned tasks, by kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bert_lightning.checkpoints.task_head import (
    CLASSIFIER,
    MULTIPLE_CHOICE,
    QA_OUTPUTS,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
)

Names = Mapping[str, str]
"""Modules of ours, each with the module of transformers that is the same."""


@dataclass(frozen=True, slots=True)
class TaskClass:
    """A class of transformers for a fine-tuned task.

    Attributes:
        name: The class.
        modules: The modules of the head.
        constants: Keys of config.json that can have no other value than this one, which is their default.
    """

    name: str
    modules: Names
    constants: Mapping[str, Any] = field(default_factory=dict)


def task_classes(title: str, pooled: Names, choice: Names | None = None) -> dict[str, TaskClass]:
    """Return the four classes for tasks that most families have.

    Args:
        title: Beginning of the names of the classes.
        pooled: The modules of a head for whole texts.
        choice: Those of a head for multiple choice; None for the same.
    """
    return {
        SEQUENCE_CLASSIFICATION: TaskClass(f"{title}ForSequenceClassification", pooled),
        TOKEN_CLASSIFICATION: TaskClass(f"{title}ForTokenClassification", {CLASSIFIER: "classifier"}),
        MULTIPLE_CHOICE: TaskClass(f"{title}ForMultipleChoice", choice or pooled),
        QUESTION_ANSWERING: TaskClass(f"{title}ForQuestionAnswering", {QA_OUTPUTS: "qa_outputs"}),
    }
