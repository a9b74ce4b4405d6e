"""Questions with several choices: SWAG (Devlin et al., 2019, section 4.4), CODAH, and tables of the user's own."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bert_lightning.checkpoints.task_head import MULTIPLE_CHOICE, TaskHead
from bert_lightning.finetuning.split_sources import FileSplits, Source, SplitFiles, check_answers
from bert_lightning.finetuning.task import Split, Task
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.knowledge.graph_reader import GraphReading
from bert_lightning.objectives.graph_choice import GraphChoice
from bert_lightning.objectives.multiple_choice import MultipleChoice
from bert_lightning.settings.progress_bars import stage
from data_pipeline.knowledge.choice_graphs import GRAPH_PATHS, ChoiceGraphs
from data_pipeline.knowledge.paths import PathSearch
from data_pipeline.knowledge.triples import read_triples
from data_pipeline.tasks.choice_pairs import encode_choices
from data_pipeline.tasks.choices import read_choices, read_codah, read_swag
from data_pipeline.tasks.encoded import FIRST, LAST
from data_pipeline.tasks.tables import TABLE_SUFFIXES
from data_pipeline.tasks.task_records import ChoiceQuestion
from data_pipeline.whole_numbers import number_of

log = logging.getLogger(__name__)
ACCURACY = "accuracy"
ReadGraph = Callable[[], tuple[GraphReading, ChoiceGraphs] | None]
"""Returns how a graph is read, and what finds the graphs of choices in it; None if there is no graph."""


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """The knowledge graph that choices are made with, as `task.graph` in the settings describes it.

    Attributes:
        path: File of triples; None for no graph.
        language: Language of the concepts of ConceptNet that are read, in its code.
        size: Size of the vectors of concepts, relations and paths.
        max_hops: Most links of a path between a concept of the text and one of a choice.
        max_paths: Most paths between two concepts.
        max_degree: Most links of a concept that a path passes through.
    """

    path: Path | None = None
    language: str = "en"
    size: int = 100
    max_hops: int = 3
    max_paths: int = 8
    max_degree: int = 256

    def read(self) -> tuple[GraphReading, ChoiceGraphs] | None:
        """Return how the graph is read, and what finds the graphs of choices in it; None if there is no graph.

        Raises:
            ValueError: naming the setting, or the file and the line, at fault.
        """
        search = PathSearch(self.max_hops, self.max_paths, self.max_degree)
        if self.path is None:
            return None
        graph = read_triples(Path(self.path), self.language)
        sizes = len(graph.concepts), len(graph.relations), self.size
        return GraphReading(graph.sha256, *sizes, search), ChoiceGraphs(graph, search)


class ChoosingTask(Task):
    """Choose one of several continuations or answers.

    Args:
        name: Name of the task.
        source: Where the questions come from.
        chosen_by: The metric that the best checkpoint is chosen by, which is accuracy.
        read_graph: Reads the knowledge graph that is read beside the texts.
    """

    def __init__(
        self,
        name: str,
        source: Source[ChoiceQuestion],
        chosen_by: str,
        read_graph: ReadGraph,
    ) -> None:
        if chosen_by != ACCURACY:
            raise ValueError(f"task.chosen_by must be {ACCURACY}; got {chosen_by}")
        super().__init__(name, chosen_by)
        self._source = source
        self._num_choices = 0
        self._extract = FIRST
        self._read_graph = read_graph
        self._graph: GraphReading | None = None

    def prepare(self, tokenizer: Tokenizer, seq_len: int, is_causal: bool = False) -> dict[str, Split]:
        """Read the questions, and the graph if there is one; all splits have the same number of choices."""
        self._extract = LAST if is_causal else FIRST
        splits = {}
        self._graph, find_graphs = self._read_graph() or (None, None)
        questions = self._source.splits()
        check_answers(questions, lambda example: example.label is not None, "label")
        first = next(iter(questions.values()))[0]
        self._num_choices = len(first.choices)
        for name, some in questions.items():
            if len(some[0].choices) != self._num_choices:
                raise ValueError(
                    f"{some[0].where} has {number_of(len(some[0].choices), 'choice')}, but {first.where} has "
                    f"{self._num_choices}: all questions need the same number"
                )
            encoded = encode_choices(tokenizer, some, seq_len, name, self._extract)
            if find_graphs is not None:
                with stage(f"finding the paths of {name}"):
                    encoded = replace(encoded, targets=encoded.targets | find_graphs(some))
                num_paths = np.diff(encoded.targets[GRAPH_PATHS].cu_rows)  # (choices,)
                log.info("%s: %d of %d choices have paths in the graph", name, np.sum(num_paths > 0), len(num_paths))
            splits[name] = Split(name, encoded, some, all(question.label is not None for question in some))
        return splits

    def objective(
        self, config: EncoderConfig, attention: PackedAttention, classifier_dropout: float | None
    ) -> MultipleChoice:
        """Return a new model with a score for each choice."""
        if self._graph is None:
            return MultipleChoice(config, self._num_choices, attention, classifier_dropout)
        return GraphChoice(config, self._num_choices, self._graph, attention, classifier_dropout)

    def head(self) -> TaskHead:
        """Return the kind of the head."""
        return TaskHead(MULTIPLE_CHOICE, extract=self._extract, graph=self._graph)

    def metrics(self, split: Split, scores: ExampleScores) -> dict[str, float]:
        """Return the share of questions of which the right choice is chosen."""
        right = np.array([question.label for question in split.records])
        return {ACCURACY: (self._by_question(scores).argmax(axis=1) == right).mean().item()}

    def predictions(self, split: Split, scores: ExampleScores) -> Iterator[dict[str, Any]]:
        """Yield the index of the choice that is chosen, the scores of all choices, and the right index if known."""
        for question, values in zip(split.records, self._by_question(scores), strict=True):
            line = {"id": question.identifier, "prediction": int(values.argmax()), "scores": values.tolist()}
            yield line | ({} if question.label is None else {"label": question.label})

    def _by_question(self, scores: ExampleScores) -> NDArray[np.float32]:
        """Return the scores, (questions, choices)."""
        return scores.values.reshape(-1, self._num_choices)


def swag_task(
    name: str,
    files: SplitFiles,
    chosen_by: str,
    graph: GraphSettings | None = None,
) -> ChoosingTask:
    """Return a task in the format of SWAG: columns sent1, sent2, ending0 ... and label.

    Args:
        name: Name of the task.
        files: The files.
        chosen_by: The metric that the best checkpoint is chosen by, which is accuracy.
        graph: The knowledge graph that is read beside the texts; None for none.
    """
    return ChoosingTask(name, FileSplits(files, read_swag, TABLE_SUFFIXES), chosen_by, (graph or GraphSettings()).read)


def codah_task(
    name: str, files: SplitFiles, chosen_by: str, fold: int = 0, graph: GraphSettings | None = None
) -> ChoosingTask:
    """Return CODAH, of which each fold has its files.

    Args:
        name: Name of the task.
        files: The folder with fold_<n>_train.tsv, fold_<n>_dev.tsv and fold_<n>_test.tsv.
        chosen_by: The metric that the best checkpoint is chosen by, which is accuracy.
        fold: Number of the fold, from 0.
        graph: The knowledge graph that is read beside the texts; None for none.
    """
    train, validation, test = (f"fold_{fold}_{split}.tsv" for split in ("train", "dev", "test"))
    files = replace(files, train=train, validation=validation, test=test)
    return ChoosingTask(name, FileSplits(files, read_codah, TABLE_SUFFIXES), chosen_by, (graph or GraphSettings()).read)


def choices_task(
    name: str,
    files: SplitFiles,
    text: str,
    choices: str,
    label: str,
    chosen_by: str,
    graph: GraphSettings | None = None,
) -> ChoosingTask:
    """Return a task of JSON lines or parquet with a list of choices in each row.

    Args:
        name: Name of the task.
        files: The files.
        text: Column of the text that the choices share.
        choices: Column of the choices, a list of texts.
        label: Column of the index of the right choice, counted from 0.
        chosen_by: The metric that the best checkpoint is chosen by, which is accuracy.
        graph: The knowledge graph that is read beside the texts; None for none.
    """
    read = partial(read_choices, text=text, choices=choices, label=label)
    source = FileSplits(files, read, TABLE_SUFFIXES, partial(read, needs_labels=False))
    return ChoosingTask(name, source, chosen_by, (graph or GraphSettings()).read)
