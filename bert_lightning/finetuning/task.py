"""What fine-tuning needs of a task: its examples, its objective, and what its scores say.

A kind of task is one module with a subclass of `Task`, a task of that kind one YAML in conf/task. The core trains,
chooses the best checkpoint and writes the files; it knows no kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.tasks.encoded import EncodedExamples

TRAIN, VALIDATION = "train", "validation"
"""Names of the splits that every task has; others, such as test, are scored too."""


@dataclass(frozen=True, slots=True)
class Split:
    """The examples of one split.

    Attributes:
        name: Name of the split, such as validation.
        encoded: The examples as token ids.
        records: The examples as the reader gave them, or what else predictions are made with.
        is_labeled: Whether the right answers are known.
    """

    name: str
    encoded: EncodedExamples
    records: Sequence[Any]
    is_labeled: bool = True


class Task(ABC):
    """One task.

    Attributes:
        needs_validation: Whether the metrics of another split follow from those of the validation split, such as by a
            threshold that is chosen there; `metrics` takes the validation split first then.

    Args:
        name: Name of the task.
        chosen_by: Metric of the validation split that the best checkpoint is chosen by.
        highest_is_best: Whether the highest value of that metric is the best; else the lowest.
    """

    needs_validation = False

    def __init__(self, name: str, chosen_by: str, highest_is_best: bool = True) -> None:
        self.name = name
        self.chosen_by = chosen_by
        self.highest_is_best = highest_is_best

    @abstractmethod
    def prepare(self, tokenizer: Tokenizer, seq_len: int, is_causal: bool = False) -> dict[str, Split]:
        """Read the examples and return the splits by name, for a training `TRAIN` and `VALIDATION` among them.

        It is called once, before everything else.

        Args:
            tokenizer: Tokenizer of the encoder.
            seq_len: Most tokens of a sequence.
            is_causal: Whether the encoder is causal, so that labels of whole texts stand at their last tokens.

        Raises:
            ValueError: naming the file and the line at fault.
        """

    @abstractmethod
    def objective(
        self, config: EncoderConfig, attention: PackedAttention, classifier_dropout: float | None
    ) -> TaskObjective:
        """Return a new model with its losses.

        Args:
            config: Sizes of the encoder.
            attention: How packed sequences attend to themselves.
            classifier_dropout: Probability of dropout before the classifier; None takes `hidden_dropout_prob`.
        """

    @abstractmethod
    def head(self) -> TaskHead:
        """Return what a checkpoint says of the head: its kind, and its labels by name."""

    @abstractmethod
    def metrics(self, split: Split, scores: ExampleScores) -> dict[str, float]:
        """Return the metrics of a split whose right answers are known, `chosen_by` among them."""

    @abstractmethod
    def predictions(self, split: Split, scores: ExampleScores) -> Iterator[dict[str, Any]]:
        """Yield a line of predictions.jsonl for each example: `id`, `prediction`, `scores`, and `label` if known."""

    def errors(self, split: Split, scores: ExampleScores) -> dict[str, Any] | None:
        """Return what the report shows of the errors on a split whose right answers are known, None for nothing.

        It has `labels` and `confusion`, the number of examples by right label (rows) and predicted one (columns), if
        labels exclude each other; and `worst`, the worst errors first, each with `id`, `text`, `label`, `prediction`
        and `loss`.
        """
        return None

    def write_files(self, split: Split, scores: ExampleScores, folder: Path) -> None:
        """Write what else the task publishes of a split, such as official prediction files; nothing by default.

        Args:
            split: The split.
            scores: Its scores.
            folder: An existing folder.
        """
        return
