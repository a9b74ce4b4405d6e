"""The task that a fine-tuned model solves, as its checkpoint tells it, with examples that a user gives."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bert_lightning.finetuning.answering import AnswerableTask, AnsweringTask, WindowSettings
from bert_lightning.finetuning.choosing import ACCURACY, ChoosingTask, GraphSettings
from bert_lightning.finetuning.entity_metrics import check_entity_tags
from bert_lightning.finetuning.split_sources import OneSplit
from bert_lightning.finetuning.tagging import ENTITY_METRICS, TaggingTask
from bert_lightning.finetuning.text_classification import TextTask
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
from bert_lightning.inference.task_means import example_length
from bert_lightning.models.knowledge.graph_reader import GraphReading
from data_pipeline.knowledge.choice_graphs import ChoiceGraphs
from data_pipeline.knowledge.triples import read_triples
from data_pipeline.tasks.encoded import BOTH_ORDERS
from data_pipeline.tasks.task_records import ChoiceQuestion, LabeledText, Question, TaggedSentence

_LABELS: dict[str | None, Callable[[list[str]], Labels]] = {
    ONE_CLASS: ClassLabels,
    SEVERAL_CLASSES: LabelSets,
    NUMBER: lambda names: NumberLabels(),
}
"""What a label is, for each problem type."""
LEAST_TEXT = 4
"""Tokens that a question must leave in a window, of which three are special ones."""


def text_task(texts: OneSplit[LabeledText], model: LoadedModel) -> TextTask:
    """Return the task of a model with a head for sequence classification, with every metric that fits its labels."""
    head = model.pretrained.head
    assert head is not None
    labels = _LABELS[head.problem_type](head.labels)
    metrics = [name for name in labels.known_metrics if name != "f1" or len(head.labels) == 2]
    return TextTask(head.kind, texts, labels, metrics, metrics[0], head.extract == BOTH_ORDERS)


def tagging_task(sentences: OneSplit[TaggedSentence], model: LoadedModel) -> TaggingTask:
    """Return the task of a model with a head for token classification; its metrics are of entities if its tags are."""
    head = model.pretrained.head
    assert head is not None
    try:
        check_entity_tags(head.labels, "the model")
    except ValueError:
        return TaggingTask(head.kind, sentences, [ACCURACY], ACCURACY, head.labels)
    return TaggingTask(head.kind, sentences, [ACCURACY, *ENTITY_METRICS], ACCURACY, head.labels)


def answering_task(questions: OneSplit[Question], model: LoadedModel, seq_len: int | None = None) -> AnsweringTask:
    """Return the task of a model with a head for question answering: SQuAD 2.0 if a question has no answer, else 1.1.

    Args:
        questions: The questions.
        model: The model.
        seq_len: Most tokens of a window; None: as in the fine-tuning.
    """
    settings, room = window_settings(model), example_length(model, seq_len)
    if settings.max_query_length + LEAST_TEXT > room:
        settings = replace(settings, max_query_length=room // 2)
    head = model.pretrained.head
    assert head is not None
    weight = 1.0 if head.extra_tensors(model.pretrained.state) else None  # of a loss that is not computed
    if any(question.is_impossible for question in questions.examples):
        return AnswerableTask(head.kind, questions, settings, "best_f1", None, weight)
    return AnsweringTask(head.kind, questions, settings, "f1", weight)


def window_settings(model: LoadedModel) -> WindowSettings:
    """Return how texts were read in the fine-tuning; the usual settings if the checkpoint does not tell."""
    task = model.pretrained.settings.get("task")
    known = {name: task.get(name) for name in WindowSettings.__slots__} if isinstance(task, Mapping) else {}
    return WindowSettings(**{name: value for name, value in known.items() if type(value) is int and value > 0})


def choosing_task(questions: OneSplit[ChoiceQuestion], model: LoadedModel, graph: str | None) -> ChoosingTask:
    """Return the task of a model with a head for multiple choice.

    Args:
        questions: The questions.
        model: The model.
        graph: File of the knowledge graph that the model reads; None: that of its fine-tuning. Preparing the task
            raises a ValueError if it is not the graph that the model was trained with, or the model reads none.
    """
    head = model.pretrained.head
    assert head is not None
    return ChoosingTask(head.kind, questions, ACCURACY, partial(_trained_graph, model, graph))


def _trained_graph(model: LoadedModel, path: str | None) -> tuple[GraphReading, ChoiceGraphs] | None:
    """Return how a model reads its graph, and what finds the graphs of choices in it; None if it reads none."""
    assert model.pretrained.head is not None
    reading = model.pretrained.head.graph
    if reading is None:
        if path is not None:
            raise ValueError(f"graph={path}, but checkpoint={model.name} reads no knowledge graph")
        return None
    trained = _graph_of_training(model.pretrained.settings)
    file = path or trained.path
    if file is None or not Path(file).is_file():
        raise ValueError(
            f"checkpoint={model.name} reads a knowledge graph, and {file} is no file: name the graph of its "
            "fine-tuning with graph (labeled.graph of bert-evaluate)"
        )
    graph = read_triples(Path(file), trained.language)
    if graph.sha256 != reading.sha256:
        raise ValueError(
            f"{file} is not the graph that checkpoint={model.name} was trained with: its sha256 is "
            f"{graph.sha256[:12]}..., not {reading.sha256[:12]}..."
        )
    return reading, ChoiceGraphs(graph, reading.search)


def _graph_of_training(settings: Mapping[str, Any]) -> GraphSettings:
    """Return the file of the graph and its language as a checkpoint tells them, the usual ones if it does not."""
    task = settings.get("task")
    graph = task.get("graph") if isinstance(task, Mapping) else None
    path, language = (graph.get(name) if isinstance(graph, Mapping) else None for name in ("path", "language"))
    named = GraphSettings(Path(path) if isinstance(path, str) else None)
    return replace(named, language=language) if isinstance(language, str) else named
