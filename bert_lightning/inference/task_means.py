"""The score of a fine-tuned model on a split of a task, by the metrics of fine-tuning."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bert_lightning.checkpoints.task_head import QUESTION_ANSWERING, TOKEN_CLASSIFICATION, TaskHead
from bert_lightning.checkpoints.trained_task import trained_on_pairs
from bert_lightning.finetuning.split_scores import score_examples
from bert_lightning.finetuning.task import VALIDATION, Split, Task
from bert_lightning.finetuning.text_labels import NUMBER
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.models.attention import choose_attention
from bert_lightning.models.knowledge.graph_reader import GraphReading
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.tasks.task_records import LabeledText

USUAL_WINDOW = 384
"""Most tokens of a question with a window of its text if the model does not say (google-research/bert)."""


def task_means(task: Task, split: str, model: LoadedModel, batch_tokens: int) -> dict[str, float]:
    """Return the metrics of a task on one of its splits, and the number of examples, of tags also that of words.

    Texts are cut to the length of the fine-tuning.

    Args:
        task: The task, whose files name its labels.
        split: Name of the split, such as validation.
        model: A model that was fine-tuned for this task.
        batch_tokens: Most tokens of a batch, about.

    Raises:
        ValueError: if the task has no such split with right answers, or the head of the model is of another task.
    """
    splits = prepared(task, model)
    labeled = [name for name, each in splits.items() if each.is_labeled]
    if split not in labeled:
        raise ValueError(f"split={split}, but the splits of task={task.name} with right answers are {_listed(labeled)}")
    if task.needs_validation and split != VALIDATION:
        task.metrics(splits[VALIDATION], split_scores(task, splits[VALIDATION], model, batch_tokens))
    scores = split_scores(task, splits[split], model, batch_tokens)
    words = {"words": len(scores.values)} if task.head().kind == TOKEN_CLASSIFICATION else {}
    return task.metrics(splits[split], scores) | words | {"examples": len(splits[split].records)}


def prepared(task: Task, model: LoadedModel, seq_len: int | None = None) -> dict[str, Split]:
    """Return the splits of a task as a model reads them.

    Args:
        task: The task.
        model: A model that was fine-tuned for this task.
        seq_len: Most tokens of an example; None: as many as in the fine-tuning.
    """
    return task.prepare(model.tokenizer, example_length(model, seq_len), model.config.is_causal)


def example_length(model: LoadedModel, seq_len: int | None = None) -> int:
    """Return the most tokens of an example of a fine-tuned model.

    Args:
        model: The model.
        seq_len: What the user asks for; None: as many as in the fine-tuning, if the checkpoint tells, or as many as the
            model takes, of questions 384.

    Raises:
        ValueError: if the model does not take so many.
    """
    assert model.pretrained.head is not None
    most = model.config.max_position_embeddings
    usual = min(USUAL_WINDOW, most) if model.pretrained.head.kind == QUESTION_ANSWERING else most
    return model.checked_length(seq_len or model.trained_length() or usual)


def split_scores(task: Task, split: Split, model: LoadedModel, batch_tokens: int) -> ExampleScores:
    """Return the scores of a model for the examples of a split.

    Args:
        task: The task, prepared.
        split: The split.
        model: A model that was fine-tuned for this task.
        batch_tokens: Most tokens of a batch, about.

    Raises:
        ValueError: if the head of the model is of another task, or the texts are pairs and those of its fine-tuning
            were single ones, or the other way about.
    """
    objective, examples = _objective(task, model), split.encoded
    _check_pairs(split.records[0], model)
    at_a_time = max(1, batch_tokens * len(examples) // len(examples.input_ids))
    return score_examples(objective.to(model.device), examples, at_a_time, model.device, False)


def _objective(task: Task, model: LoadedModel) -> TaskObjective:
    """Return the objective of a task with the weights of a model; ValueError if their heads mean different things."""
    theirs, ours = model.pretrained.head, task.head()
    assert theirs is not None
    if ours.problem_type == NUMBER:
        ours = replace(ours, labels=theirs.labels)  # the name of a number has no meaning
    for name in ("kind", "problem_type", "labels", "extract", "graph"):
        if getattr(theirs, name) != getattr(ours, name):
            said = f"{_said(theirs, name)} and not {_said(ours, name)}"
            raise ValueError(f"checkpoint={model.name} was not fine-tuned for task={task.name}: its head has {said}")
    attention = choose_attention(model.device.type, 0.0, is_half_precision=False)
    objective = task.objective(model.config, attention, None)
    objective.read_layers(theirs.reading)
    objective.encoder = model.encoder
    states = objective.state_dict(), model.pretrained.state
    wanted, given = ({name: tensor.shape for name, tensor in state.items()} for state in states)
    if other := {name for name, _ in wanted.items() ^ given.items()}:
        raise ValueError(f"checkpoint={model.name} has another head than the task: {_listed(sorted(other))}")
    objective.load_state_dict(model.pretrained.state)
    return objective


def _check_pairs(example: Any, model: LoadedModel) -> None:
    """Raise a ValueError if a model that was fine-tuned on pairs of texts gets single ones, or the other way about."""
    wanted = trained_on_pairs(model.pretrained)
    if not isinstance(example, LabeledText) or wanted is None or wanted == (example.text_pair is not None):
        return
    trained, given = ("pairs of texts", "a single text") if wanted else ("single texts", "a pair of texts")
    raise ValueError(
        f"{example.where} is {given}, but checkpoint={model.name} was trained on {trained}; labeled.text_pair, or "
        "task.text_pair, names the column of a second text"
    )


def _said(head: TaskHead, name: str) -> str:
    """Return an attribute of a head, as errors say it."""
    value = getattr(head, name)
    if name == "graph":
        return GraphReading.in_words(value)
    return f"{name} {_listed(value) if isinstance(value, list) else value or 'none'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
