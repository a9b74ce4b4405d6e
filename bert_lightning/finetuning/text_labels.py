"""What a label of a text is: one class, a number, or several classes. Each kind has its objective, head and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bert_lightning.checkpoints.task_head import PROBLEM_TYPES, SEQUENCE_CLASSIFICATION, TaskHead
from bert_lightning.finetuning.text_metrics import CLASS_METRICS, NUMBER_METRICS, SET_METRICS, Metric
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.sequence_classification import (
    MultiLabelClassification,
    SequenceClassification,
    SequenceHead,
    SequenceRegression,
)
from data_pipeline.tasks.tables import class_name
from data_pipeline.tasks.task_records import LabeledText
from data_pipeline.tasks.texts import class_labels, class_names, class_sets, number_labels

ONE_CLASS, SEVERAL_CLASSES, NUMBER = PROBLEM_TYPES
BALANCED = "balanced"
Scores = NDArray[np.float32]


class Labels(Protocol):
    """One kind of label."""

    known_metrics: dict[str, Metric]

    def learned(self, train: Sequence[LabeledText], naming: Sequence[LabeledText]) -> "Labels":
        """Return these labels with what examples decide: the training examples, and those that name all classes."""

    def codes(self, examples: Sequence[LabeledText]) -> NDArray[np.int32]:
        """Return the labels as the objective takes them."""

    def objective(self, config: EncoderConfig, attention: PackedAttention, dropout: float | None) -> SequenceHead:
        """Return a new model."""

    def head(self) -> TaskHead:
        """Return what a checkpoint says of the head."""

    def decided(self, scores: Scores) -> torch.Tensor:
        """Return what the scores, (examples, scores), predict, as the metrics take it."""

    def wanted(self, codes: NDArray[np.int32]) -> torch.Tensor:
        """Return the right answers as the metrics take them."""

    def named(self, decided: torch.Tensor) -> list[Any]:
        """Return predictions, or right answers, by name."""

    def losses(self, scores: Scores, codes: NDArray[np.int32]) -> torch.Tensor:
        """Return how wrong the scores of each example are, (examples,)."""


@dataclass(frozen=True)
class ClassLabels:
    """One class for each text.

    Attributes:
        names: Names of the classes in the order of the scores; None takes those of the training file.
        class_weights: Factor of the loss of each class; "balanced" gives every class the same share of the loss.
    """

    names: list[str] | None = None
    class_weights: list[float] | str | None = None
    known_metrics = CLASS_METRICS

    def learned(self, train: Sequence[LabeledText], naming: Sequence[LabeledText]) -> "ClassLabels":
        """Return these labels with names and weights of all classes."""
        names = list(self.names or class_names(naming))
        if self.class_weights == BALANCED:
            counts = np.bincount(class_labels(train, names), minlength=len(names))
            if not counts.all():
                raise ValueError(f"task.class_weights=balanced, but no training example is {names[counts.argmin()]}")
            return replace(self, names=names, class_weights=(len(train) / len(names) / counts).tolist())
        check_weights(self.class_weights, names)
        return replace(self, names=names)

    def codes(self, examples: Sequence[LabeledText]) -> NDArray[np.int32]:
        """Return the number of each class, (examples,)."""
        return class_labels(examples, self.names or [])

    def objective(self, config: EncoderConfig, attention: PackedAttention, dropout: float | None) -> SequenceHead:
        """Return a classifier."""
        weights = self.class_weights if isinstance(self.class_weights, list) else None
        return SequenceClassification(config, len(self.names or []), attention, dropout, weights)

    def head(self) -> TaskHead:
        """Return the names of the classes."""
        return TaskHead(SEQUENCE_CLASSIFICATION, list(self.names or []), ONE_CLASS)

    def decided(self, scores: Scores) -> torch.Tensor:
        """Return the class with the highest score, (examples,)."""
        return torch.from_numpy(scores.argmax(axis=1))

    def wanted(self, codes: NDArray[np.int32]) -> torch.Tensor:
        """Return the classes, (examples,)."""
        return torch.from_numpy(codes.astype(np.int64))

    def named(self, decided: torch.Tensor) -> list[str]:
        """Return the names of classes."""
        names = self.names or []
        return [names[number] for number in decided.tolist()]

    def losses(self, scores: Scores, codes: NDArray[np.int32]) -> torch.Tensor:
        """Return the cross-entropy of each example, (examples,)."""
        return functional.cross_entropy(torch.from_numpy(scores), self.wanted(codes), reduction="none")


@dataclass(frozen=True)
class NumberLabels:
    """A number for each text or pair."""

    known_metrics = NUMBER_METRICS

    def learned(self, train: Sequence[LabeledText], naming: Sequence[LabeledText]) -> "NumberLabels":
        """Return the same: there is nothing to learn."""
        return self

    def codes(self, examples: Sequence[LabeledText]) -> NDArray[np.int32]:
        """Return the bits of the numbers, (examples,)."""
        return number_labels(examples)

    def objective(self, config: EncoderConfig, attention: PackedAttention, dropout: float | None) -> SequenceHead:
        """Return a regression."""
        return SequenceRegression(config, attention, dropout)

    def head(self) -> TaskHead:
        """Return a head with one score."""
        return TaskHead(SEQUENCE_CLASSIFICATION, ["score"], NUMBER)

    def decided(self, scores: Scores) -> torch.Tensor:
        """Return the numbers, (examples,)."""
        return torch.from_numpy(scores[:, 0].copy())

    def wanted(self, codes: NDArray[np.int32]) -> torch.Tensor:
        """Return the numbers, (examples,)."""
        return torch.from_numpy(codes.view(np.float32).copy())

    def named(self, decided: torch.Tensor) -> list[float]:
        """Return the numbers."""
        return decided.tolist()

    def losses(self, scores: Scores, codes: NDArray[np.int32]) -> torch.Tensor:
        """Return the squared error of each example, (examples,)."""
        return (self.decided(scores) - self.wanted(codes)).square()


@dataclass(frozen=True)
class LabelSets:
    """Any number of classes for each text.

    Attributes:
        names: Names of the classes in the order of the scores; None takes those of the training file.
        class_weights: Factor of the loss of each class; None weighs all classes the same.
    """

    names: list[str] | None = None
    class_weights: list[float] | None = None
    known_metrics = SET_METRICS

    def learned(self, train: Sequence[LabeledText], naming: Sequence[LabeledText]) -> "LabelSets":
        """Return these labels with the names of all classes, which may be one."""
        names = list(self.names or class_names(naming, least=1))
        check_weights(self.class_weights, names)
        return replace(self, names=names)

    def codes(self, examples: Sequence[LabeledText]) -> NDArray[np.int32]:
        """Return 1 for the classes of each text, (examples, classes)."""
        return class_sets(examples, self.names or [])

    def objective(self, config: EncoderConfig, attention: PackedAttention, dropout: float | None) -> SequenceHead:
        """Return a classifier with a question for each class."""
        return MultiLabelClassification(config, len(self.names or []), attention, dropout, self.class_weights)

    def head(self) -> TaskHead:
        """Return the names of the classes."""
        return TaskHead(SEQUENCE_CLASSIFICATION, list(self.names or []), SEVERAL_CLASSES)

    def decided(self, scores: Scores) -> torch.Tensor:
        """Return 1 for each class with a probability above one half, (examples, classes)."""
        return torch.from_numpy((scores > 0).astype(np.int64))

    def wanted(self, codes: NDArray[np.int32]) -> torch.Tensor:
        """Return 1 for the classes of each text, (examples, classes)."""
        return torch.from_numpy(codes.astype(np.int64)).view(len(codes), -1)

    def named(self, decided: torch.Tensor) -> list[list[str]]:
        """Return the names of the classes of each text."""
        names = self.names or []
        return [[names[number] for number in row.nonzero().flatten().tolist()] for row in decided]

    def losses(self, scores: Scores, codes: NDArray[np.int32]) -> torch.Tensor:
        """Return the mean cross-entropy over the classes of each example, (examples,)."""
        wanted = self.wanted(codes).float()
        return functional.binary_cross_entropy_with_logits(torch.from_numpy(scores), wanted, reduction="none").mean(1)


def given_names(labels: Sequence[Any] | None) -> list[str] | None:
    """Return the names of `task.labels` as tables have them, None if they are not given.

    >>> given_names(["good", 2, True])
    ['good', '2', 'true']

    Raises:
        ValueError: if an entry is no name.
    """
    if labels is None:
        return None
    names = list(map(class_name, labels))
    if not names or not all(names):
        raise ValueError(f"task.labels must be null or a list of names; got {list(labels)}")
    return names


def check_weights(weights: list[float] | str | None, names: Sequence[str]) -> None:
    """Raise a ValueError if there is not one weight above 0 for each class."""
    if weights is None:
        return
    if isinstance(weights, str) or len(weights) != len(names) or not all(0 < weight < inf for weight in weights):
        raise ValueError(
            f"task.class_weights must be null, {BALANCED}, or a number above 0 for each of {', '.join(names)}; "
            f"got {weights}"
        )
