"""Tags of words: loss, gradients and scores of transformers, computed at the first pieces alone."""

import numpy as np
import torch
from transformers import BertForTokenClassification

from bert_lightning.objectives.token_classification import TokenClassification
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import LABELS, EncodedTargets
from tests.support.task_batches import (
    CONFIG,
    LENGTHS,
    assert_same_gradients,
    encoded,
    load,
    packed,
    padded,
    reference,
)

POSITIONS = [np.arange(1, length, 2) for length in LENGTHS]


def words(seed: int = 0) -> EncodedTargets:
    """Every second token begins a word."""
    sizes = [len(positions) for positions in POSITIONS]
    labels = np.random.default_rng(seed).integers(0, 5, size=sum(sizes)).astype(np.int32)
    return EncodedTargets(np.concatenate(POSITIONS).astype(np.int32), labels, np.concatenate([[0], np.cumsum(sizes)]))


def test_loss_and_gradients_are_those_of_transformers() -> None:
    other = reference(BertForTokenClassification, num_labels=5)
    model = load(TokenClassification(CONFIG, num_labels=5), other)
    examples = encoded({LABELS: words()})
    rows = padded(examples)
    labels = torch.full(rows.input_ids.shape, NO_LABEL)
    cu_rows = examples.targets[LABELS].cu_rows
    for row, positions in enumerate(POSITIONS):
        labels[row, positions] = torch.from_numpy(words().labels[cu_rows[row] : cu_rows[row + 1]]).long()
    output = other(**vars(rows), labels=labels)
    batch = packed(examples)
    count = batch.targets[LABELS].count
    assert count == len(words().labels)
    sums = model(batch)
    torch.testing.assert_close(sums["tag_loss"] / count, output.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.scores(batch)[:count], output.logits[labels != NO_LABEL], atol=1e-5, rtol=1e-5)
    right = (output.logits.argmax(-1) == labels).sum()
    assert sums["tag_accuracy"].item() == right
    (sums["tag_loss"] / count).backward()
    output.loss.backward()
    assert_same_gradients(model, other)


def test_words_without_a_tag_count_for_nothing() -> None:
    model = TokenClassification(CONFIG, num_labels=5)
    targets = words()
    untagged = EncodedTargets(targets.positions, np.full_like(targets.labels, NO_LABEL), targets.cu_rows)
    sums = model(packed(encoded({LABELS: untagged})))
    assert (sums["tag_loss"].item(), sums["tag_accuracy"].item()) == (0, 0)
