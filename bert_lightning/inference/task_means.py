"""The score of a fine-tuned model on a split of a task, by the metrics of fine-tuning."""

from typing import Any

from bert_lightning.finetuning.split_scores import score_examples
from bert_lightning.finetuning.task import VALIDATION, Task
from bert_lightning.inference.labeled_file import example_length
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.models.attention import choose_attention
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.tasks.encoded import EncodedExamples


def task_means(task: Task, split: str, model: LoadedModel, batch_tokens: int) -> dict[str, float]:
    """Return the metrics of a task on one of its splits, and the number of examples.

    Texts are cut to the length of the fine-tuning.

    Args:
        task: The task, whose files name its labels.
        split: Name of the split, such as validation.
        model: A model that was fine-tuned for this task.
        batch_tokens: Most tokens of a batch, about.

    Raises:
        ValueError: if the task has no such split with right answers, or the head of the model is of another task.
    """
    splits = task.prepare(model.tokenizer, example_length(model), model.config.is_causal)
    labeled = [name for name, each in splits.items() if each.is_labeled]
    if split not in labeled:
        raise ValueError(f"split={split}, but the splits of task={task.name} with right answers are {_listed(labeled)}")
    objective, means = _objective(task, model), {}
    for name in dict.fromkeys([VALIDATION, split] if task.needs_validation else [split]):
        means = task.metrics(splits[name], score_with(objective, splits[name].encoded, model, batch_tokens))
    return means | {"examples": len(splits[split].records)}


def score_with(
    objective: TaskObjective, examples: EncodedExamples, model: LoadedModel, batch_tokens: int
) -> ExampleScores:
    """Return the scores of the objective of a task with the weights of a model.

    Args:
        objective: A new objective, which gets the encoder and the head of the model.
        examples: The examples.
        model: The fine-tuned model.
        batch_tokens: Most tokens of a batch, about.

    Raises:
        ValueError: if the model has another head.
    """
    head = model.pretrained.head
    assert head is not None
    objective.read_layers(head.reading)
    objective.encoder = model.encoder
    other = objective.state_dict().keys() ^ model.pretrained.state.keys()
    if other:
        raise ValueError(f"checkpoint={model.name} has another head than the task: {_listed(sorted(other))}")
    objective.load_state_dict(model.pretrained.state)
    at_a_time = max(1, batch_tokens * len(examples) // len(examples.input_ids))
    return score_examples(objective.to(model.device), examples, at_a_time, model.device, False)


def _objective(task: Task, model: LoadedModel) -> TaskObjective:
    """Return the objective of a task; ValueError if its head and that of the model mean different things."""
    theirs, ours = model.pretrained.head, task.head()
    assert theirs is not None
    for name in ("kind", "problem_type", "labels", "extract"):
        known, wanted = getattr(theirs, name), getattr(ours, name)
        if known != wanted:
            said = f"{name} {_listed(known)} and not {_listed(wanted)}"
            raise ValueError(f"checkpoint={model.name} was not fine-tuned for task={task.name}: its head has {said}")
    attention = choose_attention(model.device.type, 0.0, is_half_precision=False)
    return task.objective(model.config, attention, None)


def _listed(value: Any) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
