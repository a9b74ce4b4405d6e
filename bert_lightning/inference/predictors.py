"""What a model with a head says of texts: labels by name with probabilities, or whether two texts follow each other.

The heads are those of pre-training with pairs and of fine-tuning for classification; `find_predictor` takes the one
that a checkpoint has.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bert_lightning.checkpoints.task_head import (
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    TaskHead,
)
from bert_lightning.checkpoints.trained_task import trained_on_pairs
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.text_inputs import EncodedInput
from bert_lightning.inference.words import words_of
from data_pipeline.pairs.pair_labels import PAIR_LABELS
from data_pipeline.streams.packed_texts import batches_by_length, pack_encodings
from data_pipeline.tasks.encoded import BOTH_ORDERS, FIRST
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer

Prediction = dict[str, Any]


class Predictor(ABC):
    """A head that reads hidden states of some tokens of each text.

    Args:
        model: The model.
        labels: Names of the labels, in the order of the scores.
        batch_tokens: Most tokens of a batch.

    Attributes:
        reads_pairs: Whether inputs are pairs; None takes pairs and single texts.
    """

    reads_pairs: bool | None = None

    def __init__(self, model: LoadedModel, labels: Sequence[str], batch_tokens: int) -> None:
        self._model = model
        self._labels = list(labels)
        self._batch_tokens = batch_tokens

    @abstractmethod
    def _positions(self, each: EncodedInput) -> list[int]:
        """Return the indices of the tokens of a text that the head reads."""

    @abstractmethod
    def _scores(self, hidden: Tensor) -> Tensor:
        """Return the scores, (rows, labels), of hidden states (rows, hidden)."""

    @abstractmethod
    def _prediction(self, each: EncodedInput, scores: Tensor) -> Prediction:
        """Return what the scores (rows, labels) of a text say."""

    def _check(self, each: EncodedInput) -> None:
        is_pair = each.source.text_pair is not None
        if self.reads_pairs is not None and is_pair != self.reads_pairs:
            needed = "pairs of texts; give text_pair or pair_column" if self.reads_pairs else "single texts, not pairs"
            raise ValueError(f"{each.source.where}: the head of checkpoint={self._model.name} reads {needed}")

    def __call__(self, inputs: Sequence[EncodedInput]) -> list[Prediction]:
        """Return the predictions for encoded texts, in their order."""
        for each in inputs:
            self._check(each)
        return [self._prediction(each, scores) for each, scores in zip(inputs, self._all_scores(inputs), strict=True)]

    @torch.inference_mode()
    def _all_scores(self, inputs: Sequence[EncodedInput]) -> list[Tensor]:
        """Return the scores of each text, (rows, labels)."""
        every: list[Tensor] = [torch.empty(0)] * len(inputs)
        for rows in batches_by_length([len(each.encoding) for each in inputs], self._batch_tokens):
            tokens = pack_encodings([inputs[row].encoding for row in rows])
            positions = [self._positions(inputs[row]) for row in rows]
            begins = tokens.cu_seqlens.tolist()
            absolute = [begin + position for begin, each in zip(begins, positions, strict=False) for position in each]
            hidden = self._model.read(tokens, torch.tensor(absolute, dtype=torch.int64))
            scores = self._scores(hidden).float().cpu().split([len(each) for each in positions])
            for row, part in zip(rows, scores, strict=True):
                every[row] = part
        return every

    def _by_name(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self._labels, values.tolist(), strict=True))


class _FirstTokenPredictor(Predictor):
    """A head that reads [CLS]."""

    def __init__(self, model: LoadedModel, labels: Sequence[str], batch_tokens: int, head: nn.Module) -> None:
        super().__init__(model, labels, batch_tokens)
        self._head = head

    def _positions(self, each: EncodedInput) -> list[int]:
        return [0]

    def _scores(self, hidden: Tensor) -> Tensor:
        return self._head(hidden)

    def _prediction(self, each: EncodedInput, scores: Tensor) -> Prediction:
        probabilities = scores[0].softmax(-1)
        return {
            "prediction": self._labels[int(probabilities.argmax())],
            "probabilities": self._by_name(probabilities),
        }


class PairPredictor(_FirstTokenPredictor):
    """The head of pre-training: whether the second text follows the first, or whether the two are in order."""

    reads_pairs = True

    def __init__(self, model: LoadedModel, target: str, batch_tokens: int) -> None:
        head = nn.Sequential(model.pooler(), model.linear(f"{target}_head.classifier"))
        super().__init__(model, PAIR_LABELS[target].names, batch_tokens, head)


class TextPredictor(_FirstTokenPredictor):
    """A head for sequence classification: one class, any number of classes, or a number, as its problem type says.

    A head of a causal encoder reads the last token, and may add the scores of a pair in both orders.
    """

    def __init__(self, model: LoadedModel, head: TaskHead, batch_tokens: int) -> None:
        super().__init__(model, head.labels, batch_tokens, model.task_head())
        self.reads_pairs = trained_on_pairs(model.pretrained)
        self._extract = head.extract
        self._tokenizer = plain_text_tokenizer(model.tokenizer)
        self._says = {
            "single_label_classification": super()._prediction,
            "multi_label_classification": self._several,
            "regression": self._number,
        }[str(head.problem_type)]

    def _positions(self, each: EncodedInput) -> list[int]:
        return [0 if self._extract == FIRST else len(each.encoding) - 1]

    def _all_scores(self, inputs: Sequence[EncodedInput]) -> list[Tensor]:
        scores = super()._all_scores(inputs)
        if self._extract != BOTH_ORDERS:
            return scores
        swapped = super()._all_scores([self._swapped(each) for each in inputs])
        return [one + other for one, other in zip(scores, swapped, strict=True)]

    def _swapped(self, each: EncodedInput) -> EncodedInput:
        """Return a pair in the other order, with as many tokens."""
        source = replace(each.source, text=str(each.source.text_pair), text_pair=each.source.text)
        self._tokenizer.enable_truncation(len(each.encoding))
        encoding = self._tokenizer.encode(source.text, source.text_pair)
        return EncodedInput(source, encoding, each.is_cut)

    def _prediction(self, each: EncodedInput, scores: Tensor) -> Prediction:
        return self._says(each, scores)

    def _several(self, each: EncodedInput, scores: Tensor) -> Prediction:
        probabilities = self._by_name(scores[0].sigmoid())
        return {
            "prediction": [label for label, value in probabilities.items() if value > 0.5],
            "probabilities": probabilities,
        }

    def _number(self, each: EncodedInput, scores: Tensor) -> Prediction:
        numbers = scores[0].tolist()
        return {"prediction": numbers[0] if len(numbers) == 1 else self._by_name(scores[0])}


class WordPredictor(Predictor):
    """A head for token classification: a label for each word, read from its first piece."""

    reads_pairs = False

    def __init__(self, model: LoadedModel, head: TaskHead, batch_tokens: int) -> None:
        super().__init__(model, head.labels, batch_tokens)
        self._classifier = model.task_head()

    def _positions(self, each: EncodedInput) -> list[int]:
        return [word.pieces[0] for word in words_of(each.encoding, each.source.text)]

    def _scores(self, hidden: Tensor) -> Tensor:
        return self._classifier(hidden)

    def _prediction(self, each: EncodedInput, scores: Tensor) -> Prediction:
        words, best = words_of(each.encoding, each.source.text), scores.softmax(-1).max(-1)
        named = [
            {
                "word": each.source.text[word.begin : word.end],
                "begin": word.begin,
                "end": word.end,
                "label": self._labels[label],
                "probability": probability,
            }
            for word, label, probability in zip(words, best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        return {"prediction": named}


_OF_TASKS: Mapping[str, Callable[[LoadedModel, TaskHead, int], Predictor]] = {
    SEQUENCE_CLASSIFICATION: TextPredictor,
    TOKEN_CLASSIFICATION: WordPredictor,
}


def find_predictor(model: LoadedModel, batch_tokens: int) -> Predictor:
    """Return what a model can say of texts.

    Args:
        model: The model; its head, if it is one of a task, is for texts or words.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: if the checkpoint has no head that speaks of texts or pairs.
    """
    head = model.pretrained.head
    if head is not None:
        return _OF_TASKS[head.kind](model, head, batch_tokens)
    for target in PAIR_LABELS:
        if model.pretrained.state_of(f"{target}_head.classifier"):
            return PairPredictor(model, target, batch_tokens)
    raise ValueError(f"checkpoint={model.name} has neither a head for pairs nor one of a task")
