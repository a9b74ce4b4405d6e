"""Begins and ends of answers: loss and gradients of transformers, a softmax inside each sequence, answerability."""

import numpy as np
import torch
from torch.nn import functional as F
from transformers import BertForQuestionAnswering

from bert_lightning.objectives.objective import weighted_loss
from bert_lightning.objectives.question_answering import AnswerableQuestionAnswering, QuestionAnswering
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.answer_windows import END, START
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

STARTS, ENDS = [3, 30, 0, 0, 39, 2], [5, 30, 0, 0, 39, 11]


def questions(starts: list[int] = STARTS, ends: list[int] = ENDS):
    return encoded({START: first_rows(starts), END: first_rows(ends)})


def test_loss_and_gradients_are_those_of_transformers() -> None:
    """The last token of the longest and of a short sequence are answers too."""
    other = reference(BertForQuestionAnswering)
    model = load(QuestionAnswering(CONFIG), other)
    examples = questions()
    batch, rows = packed(examples), padded(examples)
    output = other(**vars(rows), start_positions=torch.tensor(STARTS), end_positions=torch.tensor(ENDS))
    # transformers gives filler inside its rows a share of the softmax; without it the loss is that of the logits
    is_filler = rows.attention_mask == 0
    expected = sum(
        F.cross_entropy(logits.masked_fill(is_filler, -torch.inf), torch.tensor(labels)) / 2
        for logits, labels in ((output.start_logits, STARTS), (output.end_logits, ENDS))
    )
    sums = model(batch)
    loss = weighted_loss(model.quantities, sums, {name: 1 / len(LENGTHS) for name in sums})
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    loss.backward()
    expected.backward()
    assert_same_gradients(model, other)


def test_full_rows_have_transformers_own_loss() -> None:
    """Where transformers has no filler, its loss needs no correction."""
    other = reference(BertForQuestionAnswering)
    model = load(QuestionAnswering(CONFIG), other)
    examples = questions().take(np.array([4]))
    row = padded(questions())
    inputs = {name: tensor[4:5] for name, tensor in vars(row).items()}
    expected = other(**inputs, start_positions=torch.tensor([39]), end_positions=torch.tensor([39])).loss
    sums = model(packed(examples))
    torch.testing.assert_close((sums["start_loss"] + sums["end_loss"]) / 2, expected, atol=1e-5, rtol=1e-5)


def test_right_answers_are_counted_and_rows_without_label_are_not() -> None:
    model = QuestionAnswering(CONFIG)
    batch = packed(questions([NO_LABEL, 1, 0, 0, 0, 3], [NO_LABEL, 1, 0, 2, 0, 3]))
    scores = torch.zeros(len(batch.tokens.input_ids), 2)
    ends = batch.tokens.cu_seqlens.tolist()
    scores[[ends[0] + 2, ends[1] + 1, ends[5] + 4], 0] = 9.0  # begins: the second right, the last wrong
    scores[[ends[1] + 1, ends[3] + 2, ends[5] + 3], 1] = 9.0  # ends: three right
    sums = model.sums(scores, batch)
    assert batch.targets[START].count == 5
    assert sums["start_accuracy"].item() == 4  # and [CLS], the first of equals, in three sequences
    assert sums["end_accuracy"].item() == 5


def test_answerability_is_read_at_cls_and_leaves_the_spans_alone() -> None:
    torch.manual_seed(0)
    model = AnswerableQuestionAnswering(CONFIG, answerability_weight=0.25)
    starts = [3, 30, 0, 0, NO_LABEL, 2]
    batch = packed(questions(starts, [5, 30, 0, 0, NO_LABEL, 11]))
    scores = model.scores(batch)
    sums = model.sums(scores, batch)
    spans = QuestionAnswering(CONFIG).sums(scores[:, :2], batch)
    assert all(torch.equal(sums[name], value) for name, value in spans.items())
    logits = scores[batch.tokens.cu_seqlens[:6].long(), 2][torch.tensor([0, 1, 2, 3, 5])]
    has_none = torch.tensor([0.0, 0, 1, 1, 0])
    expected = F.binary_cross_entropy_with_logits(logits, has_none, reduction="sum")
    torch.testing.assert_close(sums["answerability_loss"], expected)
    assert sums["answerability_accuracy"].item() == ((logits > 0) == (has_none > 0)).sum()
    assert model.quantities["answerability_loss"].loss_weight == 0.25


def test_scores_have_the_precision_of_fp32_under_autocast() -> None:
    """In bf16 most spans of a text would tie."""
    torch.manual_seed(0)
    model, batch = AnswerableQuestionAnswering(CONFIG), packed(questions())
    with torch.autocast("cpu", torch.bfloat16):
        scores = model.scores(batch)
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
