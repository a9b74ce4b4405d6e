"""The score of a fine-tuned model on a table of texts with labels, by the metrics of fine-tuning."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bert_lightning.checkpoints.task_head import SEQUENCE_CLASSIFICATION, TaskHead
from bert_lightning.finetuning.text_labels import (
    NUMBER,
    ONE_CLASS,
    SEVERAL_CLASSES,
    ClassLabels,
    Labels,
    LabelSets,
    NumberLabels,
)
from bert_lightning.inference.loading import LoadedModel
from data_pipeline.streams.packed_texts import batches_by_length, pack_sequences
from data_pipeline.tasks.encoded import EncodedExamples
from data_pipeline.tasks.tables import Row, read_texts
from data_pipeline.tasks.texts import encode_texts

_KINDS: dict[str | None, tuple[Callable[[TaskHead], Labels], Callable[[Row, str], Any]]] = {
    ONE_CLASS: (lambda head: ClassLabels(head.labels), Row.class_name),
    SEVERAL_CLASSES: (lambda head: LabelSets(head.labels), Row.class_names),
    NUMBER: (lambda head: NumberLabels(), Row.number),
}
"""What a label is, and how it is read, for each problem type."""


def labeled_means(
    path: Path, text: str, label: str, text_pair: str | None, model: LoadedModel, batch_tokens: int
) -> dict[str, float]:
    """Return every metric that fits the labels, and the number of examples.

    Texts are cut to the length of the fine-tuning.

    Args:
        path: A table.
        text: Column of the text.
        label: Column of the label.
        text_pair: Column of the second text of a pair; None for single texts.
        model: A model with a head for sequence classification.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the file and the line at fault, such as a label that the model does not know; or if the model
            has another head.
    """
    head = model.pretrained.head
    if head is None or head.kind != SEQUENCE_CLASSIFICATION:
        found = "no head of a task" if head is None else f"a head for {head.kind}"
        raise ValueError(f"checkpoint={model.name} has {found}; labels of texts need one for {SEQUENCE_CLASSIFICATION}")
    make_labels, read_label = _KINDS[head.problem_type]
    labels = make_labels(head)
    examples = read_texts(path, text, text_pair, label, read_label=read_label)
    codes = labels.codes(examples)
    seq_len = model.trained_length() or model.config.max_position_embeddings
    scores = _scores(encode_texts(model.tokenizer, examples, seq_len, codes, path.name), model, batch_tokens)
    decided, wanted = labels.decided(scores), labels.wanted(codes)
    fitting = {name: metric for name, metric in labels.known_metrics.items() if name != "f1" or len(head.labels) == 2}
    return {**{name: metric(decided, wanted) for name, metric in fitting.items()}, "examples": len(examples)}


@torch.inference_mode()
def _scores(examples: EncodedExamples, model: LoadedModel, batch_tokens: int) -> NDArray[np.float32]:
    """Return the output of the head, (examples, labels)."""
    head = model.task_head()
    spans = [slice(begin, end) for begin, end in pairwise(examples.cu_seqlens.tolist())]
    scores: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(examples)
    for rows in batches_by_length([each.stop - each.start for each in spans], batch_tokens):
        chosen = [spans[row] for row in rows]
        tokens = pack_sequences(
            [examples.input_ids[each] for each in chosen], [examples.token_type_ids[each] for each in chosen]
        )
        batch = head(model.read(tokens, tokens.cu_seqlens[:-1])).float().cpu().numpy()
        for row, each in zip(rows, batch, strict=True):
            scores[row] = each
    return np.stack(scores)
