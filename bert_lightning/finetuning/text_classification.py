"""Tasks with a label for each text or pair of the user's own tables; `glue_tasks` has those of GLUE.

The functions are the targets of conf/task; each puts together where the texts come from and what a label is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.finetuning.split_sources import Source, SplitFiles, check_answers
from bert_lightning.finetuning.task import TRAIN, Split, Task
from bert_lightning.finetuning.text_labels import ONE_CLASS, ClassLabels, Labels, LabelSets, NumberLabels, given_names
from bert_lightning.finetuning.text_metrics import CLASS_METRICS, LOWEST_IS_BEST, check_metrics
from bert_lightning.finetuning.text_sources import table_texts
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.tasks.encoded import BOTH_ORDERS, FIRST, LABELS, LAST
from data_pipeline.tasks.tables import Row
from data_pipeline.tasks.task_records import LabeledText
from data_pipeline.tasks.texts import encode_texts
from data_pipeline.untrusted.typed_fields import listed

NUM_WORST = 20
"""Errors that the report shows."""


class TextTask(Task):
    """A label for each text or pair of texts.

    Args:
        name: Name of the task.
        source: Where the texts come from.
        labels: What a label is.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
        both_orders: Whether a causal encoder reads pairs in both orders, because the label does not depend on it.
    """

    def __init__(
        self,
        name: str,
        source: Source[LabeledText],
        labels: Labels,
        metrics: Sequence[str],
        chosen_by: str,
        both_orders: bool = False,
    ) -> None:
        check_metrics(list(metrics), chosen_by, labels.known_metrics)
        super().__init__(name, chosen_by, highest_is_best=chosen_by not in LOWEST_IS_BEST)
        self._source = source
        self._labels = labels
        self._metrics = {name: labels.known_metrics[name] for name in metrics}
        self._causal_extract = BOTH_ORDERS if both_orders else LAST
        self._extract = FIRST

    def prepare(self, tokenizer: Tokenizer, seq_len: int, is_causal: bool = False) -> dict[str, Split]:
        """Read and encode the splits; the classes are those of the training file unless they are given."""
        self._extract = self._causal_extract if is_causal else FIRST
        texts = self._source.splits()
        check_answers(texts, lambda example: example.label is not None, "label")
        self._labels = self._labels.learned(texts.get(TRAIN, []), self._source.naming(texts))
        self._check_f1()
        splits = {}
        for name, examples in texts.items():
            encoded = encode_texts(tokenizer, examples, seq_len, self._labels.codes(examples), name, self._extract)
            splits[name] = Split(name, encoded, examples, all(example.label is not None for example in examples))
        return splits

    def _check_f1(self) -> None:
        """Raise a ValueError if F1 of one class against the other is asked for, and there are more."""
        labels = self._labels.head().labels
        if self._labels.known_metrics is CLASS_METRICS and "f1" in self._metrics and len(labels) != 2:
            raise ValueError(
                f"task.metrics has f1, which is of two classes, but the number of classes is {len(labels)}: "
                f"{listed(labels)}; take macro_f1"
            )

    def objective(
        self, config: EncoderConfig, attention: PackedAttention, classifier_dropout: float | None
    ) -> TaskObjective:
        """Return a new model with a classifier."""
        objective = self._labels.objective(config, attention, classifier_dropout)
        objective.reads_both_orders = self._extract == BOTH_ORDERS
        return objective

    def head(self) -> TaskHead:
        """Return the kind of the head and its labels."""
        return replace(self._labels.head(), extract=self._extract)

    def metrics(self, split: Split, scores: ExampleScores) -> dict[str, float]:
        """Return the metrics of the task."""
        decided, wanted = self._labels.decided(_values(scores)), self._labels.wanted(_codes(split))
        return {name: metric(decided, wanted) for name, metric in self._metrics.items()}

    def decisions(self, scores: ExampleScores) -> list[Any]:
        """Return the label that is predicted for each text, by its name."""
        return self._labels.named(self._labels.decided(_values(scores)))

    def predictions(self, split: Split, scores: ExampleScores) -> Iterator[dict[str, Any]]:
        """Yield the name of the label that is predicted for each text, the scores, and the right label if known."""
        named, values = self.decisions(scores), _values(scores)
        right = self._labels.named(self._labels.wanted(_codes(split))) if split.is_labeled else None
        for row, example in enumerate(split.records):
            line = {"id": example.identifier, "prediction": named[row], "scores": values[row].tolist()}
            yield line | ({"label": right[row]} if right is not None else {})

    def errors(self, split: Split, scores: ExampleScores) -> dict[str, Any]:
        """Return the confusion matrix, if a text has one class, and the texts that were judged worst."""
        decided, codes = self._labels.decided(_values(scores)), _codes(split)
        wanted, losses = self._labels.wanted(codes), self._labels.losses(_values(scores), codes)
        named, right = self._labels.named(decided), self._labels.named(wanted)
        wrong = [row for row in losses.argsort(descending=True).tolist() if named[row] != right[row]]
        worst = [
            {
                "id": split.records[row].identifier,
                "text": " | ".join(filter(None, (split.records[row].text, split.records[row].text_pair))),
                "label": right[row],
                "prediction": named[row],
                "loss": losses[row].item(),
            }
            for row in wrong[:NUM_WORST]
        ]
        head = self.head()
        if head.problem_type != ONE_CLASS:
            return {"worst": worst}
        size = len(head.labels)
        table = torch.bincount(wanted * size + decided, minlength=size * size).view(size, size)  # (right, predicted)
        return {"labels": head.labels, "confusion": table.tolist(), "worst": worst}


def _values(scores: ExampleScores) -> NDArray[np.float32]:
    """Return the scores of each example, (examples, scores); both orders of a pair have the same."""
    return scores.values[scores.cu_rows[:-1]]


def _codes(split: Split) -> np.ndarray:
    """Return the labels of a split as its source has coded them, (examples,) or (examples, labels)."""
    target = split.encoded.targets[LABELS]
    codes = target.labels.reshape(len(target.positions), -1)[:: split.encoded.sequences_per_example]
    return codes if codes.shape[1] > 1 else codes[:, 0]


def classification_task(
    name: str,
    files: SplitFiles,
    text: str,
    label: str,
    metrics: Sequence[str],
    chosen_by: str,
    text_pair: str | None = None,
    identifier: str | None = None,
    labels: Sequence[str] | None = None,
    class_weights: str | Sequence[float] | None = None,
    both_orders: bool = False,
) -> TextTask:
    """Return a task with one class for each text of a table.

    Args:
        name: Name of the task.
        files: The files.
        text: Column of the text.
        label: Column of the label.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
        text_pair: Column of the second text of a pair; None for single texts.
        identifier: Column that identifies examples; None counts them.
        labels: Names of the classes; None takes those of the training file.
        class_weights: Factor of the loss of each class, or balanced; None weighs all classes the same.
        both_orders: Whether a causal encoder reads pairs in both orders; as for similarities, the label must not depend
            on the order.
    """
    source = table_texts(files, text, label, text_pair, identifier, Row.class_name)
    weights = class_weights if class_weights is None or isinstance(class_weights, str) else list(class_weights)
    return TextTask(name, source, ClassLabels(given_names(labels), weights), metrics, chosen_by, both_orders)


def regression_task(
    name: str,
    files: SplitFiles,
    text: str,
    label: str,
    metrics: Sequence[str],
    chosen_by: str,
    text_pair: str | None = None,
    identifier: str | None = None,
    both_orders: bool = False,
) -> TextTask:
    """Return a task with a number for each text of a table.

    Args:
        name: Name of the task.
        files: The files.
        text: Column of the text.
        label: Column of the number.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
        text_pair: Column of the second text of a pair; None for single texts.
        identifier: Column that identifies examples; None counts them.
        both_orders: Whether a causal encoder reads pairs in both orders; as for similarities, the label must not depend
            on the order.
    """
    source = table_texts(files, text, label, text_pair, identifier, Row.number)
    return TextTask(name, source, NumberLabels(), metrics, chosen_by, both_orders)


def multilabel_task(
    name: str,
    files: SplitFiles,
    text: str,
    label: str,
    metrics: Sequence[str],
    chosen_by: str,
    text_pair: str | None = None,
    identifier: str | None = None,
    labels: Sequence[str] | None = None,
    class_weights: Sequence[float] | None = None,
) -> TextTask:
    """Return a task with any number of classes for each text of a table.

    Args:
        name: Name of the task.
        files: The files.
        text: Column of the text.
        label: Column of the classes: a list of names, or names with commas between them.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
        text_pair: Column of the second text of a pair; None for single texts.
        identifier: Column that identifies examples; None counts them.
        labels: Names of the classes; None takes those of the training file.
        class_weights: Factor of the loss of each class; None weighs all classes the same.
    """
    source = table_texts(files, text, label, text_pair, identifier, Row.class_names)
    weights = None if class_weights is None else list(class_weights)
    return TextTask(name, source, LabelSets(given_names(labels), weights), metrics, chosen_by)
