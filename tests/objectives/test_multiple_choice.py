"""Choices of one question: loss, gradients and predictions of transformers, whatever filler follows."""

import torch
from transformers import BertForMultipleChoice

from bert_lightning.objectives.multiple_choice import MultipleChoice
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import LABELS, EncodedExamples
from tests.support.task_batches import (
    CONFIG,
    assert_same_gradients,
    encoded,
    first_rows,
    load,
    packed,
    padded,
    reference,
)


def two_questions(first: int = 2, second: int = 1) -> EncodedExamples:
    labels = [first, NO_LABEL, NO_LABEL, second, NO_LABEL, NO_LABEL]
    return encoded({LABELS: first_rows(labels)}, sequences_per_example=3)


def test_loss_and_gradients_are_those_of_transformers() -> None:
    other = reference(BertForMultipleChoice)
    model = load(MultipleChoice(CONFIG, num_choices=3), other)
    batch = packed(two_questions())
    rows = {name: tensor.view(2, 3, -1) for name, tensor in vars(padded(two_questions())).items()}
    output = other(**rows, labels=torch.tensor([2, 1]))
    sums = model(batch)
    assert batch.targets[LABELS].count == batch.num_examples == 2
    torch.testing.assert_close(sums["choice_loss"] / 2, output.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.scores(batch)[:6].view(2, 3), output.logits, atol=1e-5, rtol=1e-5)
    (sums["choice_loss"] / 2).backward()
    output.loss.backward()
    assert_same_gradients(model, other)


def test_right_answers_are_counted_by_question() -> None:
    model = MultipleChoice(CONFIG, num_choices=3)
    batch = packed(two_questions(2, 1))
    scores = torch.zeros(len(batch.targets[LABELS].positions), 1)
    scores[[2, 3]] = 1.0
    assert model.sums(scores, batch)["choice_accuracy"].item() == 1
    unlabeled = model.sums(scores, packed(two_questions(NO_LABEL, NO_LABEL)))
    assert (unlabeled["choice_loss"].item(), unlabeled["choice_accuracy"].item()) == (0, 0)
