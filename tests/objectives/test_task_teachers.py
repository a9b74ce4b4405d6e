"""A task that learns from a fine-tuned teacher: soft labels of every kind of head against closed forms."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.multiple_choice import MultipleChoice
from bert_lightning.objectives.question_answering import QuestionAnswering
from bert_lightning.objectives.sequence_classification import (
    MultiLabelClassification,
    SequenceClassification,
    SequenceRegression,
)
from bert_lightning.objectives.task_objective import TaskObjective
from bert_lightning.objectives.token_classification import TokenClassification
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.answer_windows import END, START
from data_pipeline.tasks.encoded import LABELS, EncodedTargets
from tests.support.parity import random_weights
from tests.support.task_batches import CONFIG, LENGTHS, encoded, first_rows, packed

DEEP = replace(CONFIG, num_hidden_layers=3, hidden_size=48)
LABELED = torch.tensor([True, False, True, True, True, True])
"""Which texts have a label; the scores of the others teach nothing."""


def divergence(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    wanted = (taught / temperature).softmax(-1)
    return temperature**2 * (wanted * (wanted.log() - (said / temperature).log_softmax(-1))).sum()


def of_classes(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    return divergence(said[:6][LABELED], taught[:6][LABELED], temperature)


def of_numbers(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    return (said - taught)[:6][LABELED].square().sum()


def of_sets(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    said, taught = (each[:6][LABELED] / temperature for each in (said, taught))
    return temperature**2 * F.binary_cross_entropy(said.sigmoid(), taught.sigmoid(), reduction="none").mean(1).sum()


def of_choices(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    return divergence(said[:3, 0], taught[:3, 0], temperature)  # the second question has no label


def of_answers(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    ends = np.cumsum([0, *LENGTHS])
    texts = [(said[ends[row] : ends[row + 1]], taught[ends[row] : ends[row + 1]]) for row in LABELED.nonzero()[:, 0]]
    return sum((divergence(*(each.T for each in text), temperature) / 2 for text in texts), torch.tensor(0.0))


GAP = [0, NO_LABEL, 1, 1, 0, 2]
SETS = EncodedTargets(
    np.zeros(6, dtype=np.int32),
    np.array([[1, 0, 1] if each != NO_LABEL else [NO_LABEL] * 3 for each in GAP], dtype=np.int32).ravel(),
    np.arange(7),
)
Kind = tuple[Callable[[EncoderConfig], TaskObjective], dict[str, Any], int, Callable[[Tensor, Tensor, float], Tensor]]
KINDS: dict[str, Kind] = {
    "classes": (lambda config: SequenceClassification(config, 3), {LABELS: first_rows(GAP)}, 1, of_classes),
    "numbers": (SequenceRegression, {LABELS: first_rows(GAP)}, 1, of_numbers),
    "sets": (lambda config: MultiLabelClassification(config, 3), {LABELS: SETS}, 1, of_sets),
    "tags": (lambda config: TokenClassification(config, 3), {LABELS: first_rows(GAP)}, 1, of_classes),
    "choices": (
        lambda config: MultipleChoice(config, num_choices=3),
        {LABELS: first_rows([2, *[NO_LABEL] * 5])},
        3,
        of_choices,
    ),
    "answers": (QuestionAnswering, {START: first_rows(GAP), END: first_rows(GAP)}, 1, of_answers),
}


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_soft_labels_are_those_of_the_closed_form(kind: str, temperature: float) -> None:
    make, targets, sequences, closed_form = KINDS[kind]
    model, teacher = random_weights(make(CONFIG)), random_weights(make(DEEP))
    assert isinstance(model, TaskObjective)
    assert isinstance(teacher, TaskObjective)
    batch = packed(encoded(targets, sequences))
    before = model.quantities
    model.learn_from(teacher.train(), weight=0.75, temperature=temperature)
    sums = model(batch)
    said, taught = (each.scores(batch).float() for each in (model, teacher))
    torch.testing.assert_close(sums["soft_loss"], closed_form(said, taught, temperature), atol=1e-5, rtol=1e-5)
    weights = {name: quantity.loss_weight for name, quantity in model.quantities.items()}
    expected = {name: quantity.loss_weight / 4 for name, quantity in before.items()}
    assert weights == expected | {"soft_loss": 0.75}
    sums["soft_loss"].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not any(module.training for module in teacher.modules())
    assert model.state_dict().keys() == make(CONFIG).state_dict().keys()
    assert model.useful_flops(10, 100, {}) > make(CONFIG).useful_flops(10, 100, {})


def test_a_model_that_scores_what_its_teacher_scores_has_nothing_to_learn() -> None:
    model = random_weights(SequenceClassification(CONFIG, 3))
    teacher = SequenceClassification(CONFIG, 3)
    teacher.load_state_dict(model.state_dict())
    assert isinstance(model, TaskObjective)
    model.learn_from(teacher)
    loss = model(packed(encoded({LABELS: first_rows(GAP)})))["soft_loss"]
    torch.testing.assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)
