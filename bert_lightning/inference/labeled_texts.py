"""The score of a fine-tuned model on a table of texts with labels, by the metrics of fine-tuning."""

from collections.abc import Callable
from typing import Any

from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.checkpoints.trained_task import trained_glue_task, trained_on_pairs
from bert_lightning.finetuning.text_labels import (
    NUMBER,
    ONE_CLASS,
    SEVERAL_CLASSES,
    ClassLabels,
    Labels,
    LabelSets,
    NumberLabels,
)
from bert_lightning.inference.encoded_scores import score_encoded
from bert_lightning.inference.labeled_file import LabeledFile, example_length
from bert_lightning.inference.loading import LoadedModel
from data_pipeline.tasks.encoded import LABELS
from data_pipeline.tasks.glue import is_official, read_glue_file
from data_pipeline.tasks.tables import Row, read_texts
from data_pipeline.tasks.texts import encode_texts

_KINDS: dict[str | None, tuple[Callable[[TaskHead], Labels], Callable[[Row, str], Any]]] = {
    ONE_CLASS: (lambda head: ClassLabels(head.labels), Row.class_name),
    SEVERAL_CLASSES: (lambda head: LabelSets(head.labels), Row.class_names),
    NUMBER: (lambda head: NumberLabels(), Row.number),
}
"""What a label is, and how it is read, for each problem type."""


def text_means(file: LabeledFile, model: LoadedModel, batch_tokens: int) -> dict[str, float]:
    """Return every metric that fits the labels, and the number of examples.

    Texts are cut to the length of the fine-tuning.

    Args:
        file: A table, or an official file of GLUE for a model that was trained on this task.
        model: A model with a head for sequence classification.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the file and the line at fault, such as a label that the model does not know.
    """
    head = model.pretrained.head
    assert head is not None
    make_labels, read_label = _KINDS[head.problem_type]
    labels = make_labels(head)
    layout = trained_glue_task(model.pretrained)
    if layout is not None and is_official(layout, file.path, file.text):
        examples = read_glue_file(layout, file.path)
    else:
        _check_pairs(file, model)
        columns = (file.text, file.text_pair, file.label)
        examples = read_texts(file.path, *columns, read_label=read_label, group="labeled.")
    codes = labels.codes(examples)
    encoded = encode_texts(model.tokenizer, examples, example_length(model), codes, file.path.name, head.extract)
    scores = score_encoded(encoded, encoded.targets[LABELS], model, batch_tokens)
    scores = scores.reshape(len(examples), -1, scores.shape[1]).sum(axis=1)  # a pair may be there in both orders
    decided, wanted = labels.decided(scores), labels.wanted(codes)
    fitting = {name: metric for name, metric in labels.known_metrics.items() if name != "f1" or len(head.labels) == 2}
    return {**{name: metric(decided, wanted) for name, metric in fitting.items()}, "examples": len(examples)}


def _check_pairs(file: LabeledFile, model: LoadedModel) -> None:
    wanted, given = trained_on_pairs(model.pretrained), file.text_pair
    if wanted is not None and wanted != (given is not None):
        trained = "pairs of texts: name the column of the second text" if wanted else "single texts: leave it out"
        raise ValueError(f"labeled.text_pair={given or 'null'}, but checkpoint={model.name} was trained on {trained}")
