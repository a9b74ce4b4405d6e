"""Questions with choices for a fine-tuned model: their files, its scores of the choices, and how often it is right."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_lightning.finetuning.choosing import GraphSettings
from bert_lightning.inference.encoded_scores import score_encoded
from bert_lightning.inference.labeled_file import LabeledFile, example_length
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.task_means import score_with
from bert_lightning.objectives.graph_choice import GraphChoice
from data_pipeline.knowledge.choice_graphs import ChoiceGraphs
from data_pipeline.knowledge.triples import read_triples
from data_pipeline.tasks.choice_pairs import encode_choices
from data_pipeline.tasks.choices import read_choices, read_codah, read_swag
from data_pipeline.tasks.encoded import LABELS, EncodedExamples
from data_pipeline.tasks.tables import named_by
from data_pipeline.tasks.task_records import ChoiceQuestion


def choice_means(file: LabeledFile, model: LoadedModel, batch_tokens: int) -> dict[str, float]:
    """Return the share of questions of which the right choice is chosen.

    Args:
        file: JSON lines or parquet with a list of choices, the CSV of SWAG, or the TSV of CODAH.
        model: A model with a head for multiple choice.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the file and the line at fault, such as a question without a label.
    """
    settings = named_by("labeled.", label=file.label, choices=file.choices, text=file.text)
    questions = read_questions(file.path, file.text, file.choices, file.label, settings)
    right = [question.label for question in questions]
    if None in right:
        raise ValueError(f"{questions[right.index(None)].where} has no label to compare with")
    chosen = ChoiceScorer(model, batch_tokens, graph=file.graph)(questions).argmax(axis=1)
    return {"accuracy": (chosen == np.array(right)).mean().item(), "examples": len(questions)}


def read_questions(
    path: Path, text: str, choices: str, label: str | None, settings: Mapping[str, str]
) -> list[ChoiceQuestion]:
    """Return the questions of a file, whose ending says what it is.

    Args:
        path: The CSV of SWAG, the TSV of CODAH, or a table with a list of choices in each row.
        text: Column of the text that the choices share, in a table.
        choices: Column of the choices, in a table.
        label: Column of the index of the right choice, in a table; None reads no labels.
        settings: Settings that name the columns, by column.
    """
    if path.suffix == ".csv":
        return read_swag(path)
    return read_codah(path) if path.suffix == ".tsv" else read_choices(path, text, choices, label, settings)


class ChoiceScorer:
    """Score the choices of questions with a model.

    Args:
        model: A model with a head for multiple choice.
        batch_tokens: Most tokens of a batch.
        seq_len: Most tokens of a text with a choice, longer ones are cut; None: as in the fine-tuning.
        graph: File of the knowledge graph that the model reads; None: that of its fine-tuning.

    Raises:
        ValueError: if the file is not the graph that the model was trained with, or the model reads none.
    """

    def __init__(
        self, model: LoadedModel, batch_tokens: int, seq_len: int | None = None, graph: str | None = None
    ) -> None:
        assert model.pretrained.head is not None
        self._model = model
        self._head = model.pretrained.head
        self._batch_tokens = batch_tokens
        self._seq_len = example_length(model, seq_len)
        self._find_graphs = choice_graphs(model, graph)

    def __call__(self, questions: list[ChoiceQuestion]) -> NDArray[np.float32]:
        """Return the scores of all choices, (questions, choices); all questions have the same number of choices."""
        where, extract = questions[0].where, self._head.extract
        encoded = encode_choices(self._model.tokenizer, questions, self._seq_len, where, extract)
        if self._find_graphs is not None:
            encoded = replace(encoded, targets=encoded.targets | self._find_graphs(questions))
            return self._with_graphs(encoded).reshape(len(questions), -1)
        scores = score_encoded(encoded, encoded.targets[LABELS], self._model, self._batch_tokens)
        return scores.reshape(len(questions), -1)

    def _with_graphs(self, encoded: EncodedExamples) -> NDArray[np.float32]:
        """Return the scores of all choices, (choices, 1), by the texts and the graphs."""
        assert self._head.graph is not None
        objective = GraphChoice(self._model.config, encoded.sequences_per_example, self._head.graph)
        return score_with(objective, encoded, self._model, self._batch_tokens).values


def choice_graphs(model: LoadedModel, path: str | None) -> ChoiceGraphs | None:
    """Return what finds the graphs of choices that a model reads; None if it reads none.

    Args:
        model: A model with a head for multiple choice.
        path: File of the graph; None: that of its fine-tuning.

    Raises:
        ValueError: if the file is not the graph that the model was trained with, or the model reads none.
    """
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
    return ChoiceGraphs(graph, reading.search)


def _graph_of_training(settings: Mapping[str, Any]) -> GraphSettings:
    """Return the file of the graph and its language as a checkpoint tells them, the usual ones if it does not."""
    task = settings.get("task")
    graph = task.get("graph") if isinstance(task, Mapping) else None
    path, language = (graph.get(name) if isinstance(graph, Mapping) else None for name in ("path", "language"))
    named = GraphSettings(Path(path) if isinstance(path, str) else None)
    return replace(named, language=language) if isinstance(language, str) else named
