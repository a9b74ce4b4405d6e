"""Losses and gradients of texts with labels are those of transformers, for all three kinds of labels."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from bert_lightning.objectives.sequence_classification import (
    MultiLabelClassification,
    SequenceClassification,
    SequenceHead,
    SequenceRegression,
)
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import LABELS, EncodedExamples, EncodedTargets
from tests.support.task_batches import (
    CONFIG,
    LENGTHS,
    assert_same_gradients,
    encoded,
    first_rows,
    load,
    packed,
    padded,
    reference,
)

CLASSES = [2, 0, 1, 1, 0, 2]
NUMBERS = [0.5, 5.0, -1.25, 3.0, 2.0, 0.0]
SETS = [[0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
Case = tuple[SequenceHead, EncodedExamples, Tensor, str]


def bits(numbers: list[float]) -> list[int]:
    return np.array(numbers, dtype=np.float32).view(np.int32).tolist()


def sets(labels: list[list[int]]) -> EncodedTargets:
    rows = first_rows([0] * len(labels))
    return EncodedTargets(rows.positions, np.array(labels, dtype=np.int32).ravel(), rows.cu_rows)


def cases() -> dict[str, Case]:
    return {
        "single_label_classification": (
            SequenceClassification(CONFIG, 3),
            encoded({LABELS: first_rows(CLASSES)}),
            torch.tensor(CLASSES),
            "label_loss",
        ),
        "regression": (
            SequenceRegression(CONFIG),
            encoded({LABELS: first_rows(bits(NUMBERS))}),
            torch.tensor(NUMBERS),
            "squared_error",
        ),
        "multi_label_classification": (
            MultiLabelClassification(CONFIG, 3),
            encoded({LABELS: sets(SETS)}),
            torch.tensor(SETS, dtype=torch.float32),
            "label_loss",
        ),
    }


def other_model(problem: str) -> nn.Module:
    model = reference(BertForSequenceClassification, num_labels=1 if problem == "regression" else 3)
    model.config.problem_type = problem
    return model


@pytest.mark.parametrize("problem", list(cases()))
def test_loss_and_gradients_are_those_of_transformers(problem: str) -> None:
    model, examples, labels, loss = cases()[problem]
    other = other_model(problem)
    load(model, other)
    batch = packed(examples)
    output = other(**vars(padded(examples)), labels=labels)
    sums = model(batch)
    assert batch.targets[LABELS].count == len(LENGTHS)
    torch.testing.assert_close(sums[loss] / len(LENGTHS), output.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.scores(batch)[: len(LENGTHS)], output.logits, atol=1e-5, rtol=1e-5)
    (sums[loss] / len(LENGTHS)).backward()
    output.loss.backward()
    assert_same_gradients(model, other)


@pytest.mark.parametrize("problem", list(cases()))
def test_texts_without_a_label_count_for_nothing(problem: str) -> None:
    model, examples, _, _ = cases()[problem]
    load(model, other_model(problem))
    target = examples.targets[LABELS]
    per_row = len(target.labels) // len(LENGTHS)
    absent = target.labels.copy()
    absent[per_row:] = NO_LABEL
    partly = EncodedExamples(
        examples.input_ids,
        examples.token_type_ids,
        examples.cu_seqlens,
        {LABELS: EncodedTargets(target.positions, absent, target.cu_rows)},
    )
    batch, first = packed(partly), packed(examples.take(np.array([0])))
    assert batch.targets[LABELS].count == first.targets[LABELS].count == 1
    for name, value in model(batch).items():
        torch.testing.assert_close(value, model(first)[name], atol=1e-5, rtol=1e-5)


def test_class_weights_are_factors_of_the_losses_of_their_classes() -> None:
    weights = [1.0, 2.0, 0.5]
    plain = load(SequenceClassification(CONFIG, 3), other_model("single_label_classification"))
    weighted = SequenceClassification(CONFIG, 3, class_weights=weights)
    weighted.load_state_dict(plain.state_dict())
    expected = 0.0
    for row, label in enumerate(CLASSES):
        batch = packed(encoded({LABELS: first_rows(CLASSES)}).take(np.array([row])))
        expected += weights[label] * plain(batch)["label_loss"].item()
    found = weighted(packed(encoded({LABELS: first_rows(CLASSES)})))["label_loss"].item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_frozen_encoder_has_no_gradients_and_no_dropout() -> None:
    config = type(CONFIG)(**{**CONFIG.as_dict(), "hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5})
    model = SequenceClassification(config, 3, classifier_dropout=0.0)
    model.freeze_encoder()
    model.train()
    batch = packed(encoded({LABELS: first_rows(CLASSES)}))
    first, second = model(batch), model(batch)
    assert torch.equal(first["label_loss"], second["label_loss"])
    first["label_loss"].backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(parameter.grad is not None for parameter in (*model.pooler.parameters(), *model.classifier.parameters()))


def test_a_listener_hears_the_scores_of_the_forward_pass() -> None:
    model, examples, _, _ = cases()["single_label_classification"]
    heard: list[Tensor] = []
    model.listener = lambda batch, scores: heard.append(scores)
    batch = packed(examples)
    model(batch)
    assert torch.equal(heard[0], model.scores(batch))
    assert not heard[0].requires_grad
