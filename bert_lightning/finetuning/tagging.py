"""A tag for each word: named entities, chunks, parts of speech (Devlin et al., 2019, section 5.3)."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from bert_lightning.checkpoints.task_head import TOKEN_CLASSIFICATION, TaskHead
from bert_lightning.finetuning.entity_metrics import check_entity_tags, entity_metrics
from bert_lightning.finetuning.split_sources import FileSplits, Source, SplitFiles, check_answers
from bert_lightning.finetuning.task import Split, Task
from bert_lightning.finetuning.text_labels import given_names
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.token_classification import TokenClassification
from data_pipeline.tasks.tables import TABLE_SUFFIXES
from data_pipeline.tasks.tagged import read_conll, read_conllu, read_tagged_table
from data_pipeline.tasks.tagged_words import encode_tagged, tag_names
from data_pipeline.tasks.task_records import TaggedSentence

ACCURACY = "accuracy"
ENTITY_METRICS = ("f1", "precision", "recall")
COLUMN_SUFFIXES = (".conll", ".txt", ".iob", ".bio")
"""Endings of files with a word and its tags in columns."""
SCORE_DIGITS = 4


class TaggingTask(Task):
    """Tag every word.

    Args:
        name: Name of the task.
        source: Where the sentences come from.
        metrics: Names of the metrics: accuracy over words; f1, precision and recall over entities.
        chosen_by: The metric that the best checkpoint is chosen by.
        labels: Names of the tags; None takes those of the training file.
    """

    def __init__(
        self,
        name: str,
        source: Source[TaggedSentence],
        metrics: Sequence[str],
        chosen_by: str,
        labels: Sequence[str] | None,
    ) -> None:
        known = (ACCURACY, *ENTITY_METRICS)
        if unknown := [metric for metric in metrics if metric not in known]:
            raise ValueError(f"task.metrics must be some of {', '.join(known)}; got {unknown[0]}")
        if chosen_by not in metrics:
            raise ValueError(f"task.chosen_by must be one of task.metrics={', '.join(metrics)}; got {chosen_by}")
        super().__init__(name, chosen_by)
        self._source = source
        self._metrics = metrics
        self._tags = given_names(labels) or []

    def prepare(self, tokenizer: Tokenizer, seq_len: int, is_causal: bool = False) -> dict[str, Split]:
        """Read and encode the sentences; the tags are those of the training file unless they are given."""
        sentences = self._source.splits()
        check_answers(sentences, lambda sentence: sentence.tags is not None, "tag")
        naming = self._source.naming(sentences)
        names = tag_names(naming)
        self._tags = self._tags or names
        splits = {}
        for name, some in sentences.items():
            encoded = encode_tagged(tokenizer, some, self._tags, seq_len)
            splits[name] = Split(name, encoded, some, all(sentence.tags is not None for sentence in some))
        if set(self._metrics) & set(ENTITY_METRICS):
            check_entity_tags(names, naming[0].where.partition(",")[0])
        return splits

    def objective(
        self, config: EncoderConfig, attention: PackedAttention, classifier_dropout: float | None
    ) -> TokenClassification:
        """Return a new model with a classifier on the first piece of each word."""
        return TokenClassification(config, len(self._tags), attention, classifier_dropout)

    def head(self) -> TaskHead:
        """Return the kind of the head and the names of the tags."""
        return TaskHead(TOKEN_CLASSIFICATION, list(self._tags))

    def metrics(self, split: Split, scores: ExampleScores) -> dict[str, float]:
        """Return accuracy over all words, and precision, recall and F1 over all entities, as asked for."""
        predicted, right = self._predicted(split, scores), [sentence.tags for sentence in split.records]
        pairs = list(zip(chain.from_iterable(predicted), chain.from_iterable(right), strict=True))
        values = {ACCURACY: sum(one == other for one, other in pairs) / len(pairs)}
        if set(self._metrics) & set(ENTITY_METRICS):
            values |= entity_metrics(predicted, right)
        return {name: values[name] for name in self._metrics}

    def predictions(self, split: Split, scores: ExampleScores) -> Iterator[dict[str, Any]]:
        """Yield words, predicted tags, the scores of all tags of each word, and the right tags if known."""
        begin = 0
        for sentence, tags in zip(split.records, self._predicted(split, scores), strict=True):
            values = scores.values[begin : begin + len(tags)].astype(np.float64).round(SCORE_DIGITS).tolist()
            begin += len(tags)
            line = {"id": sentence.identifier, "words": sentence.words, "prediction": tags, "scores": values}
            yield line | ({} if sentence.tags is None else {"label": sentence.tags})

    def _predicted(self, split: Split, scores: ExampleScores) -> list[list[str]]:
        """Return the predicted tags of every sentence; the rows of the scores are the words of all sentences."""
        best = iter(scores.values.argmax(axis=1).tolist())
        return [[self._tags[next(best)] for _ in sentence.words] for sentence in split.records]


def conll_task(
    name: str,
    files: SplitFiles,
    metrics: Sequence[str],
    chosen_by: str,
    word_column: int = 0,
    tag_column: int = -1,
    labels: Sequence[str] | None = None,
) -> TaggingTask:
    """Return a task of files with a word and its tags in columns, such as CoNLL-2003, CoNLL-2000 and WNUT-17.

    Args:
        name: Name of the task.
        files: The files.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
        word_column: Column of the words, from 0; a negative one counts from the last.
        tag_column: Column of the tags.
        labels: Names of the tags; None takes those of the training file.
    """
    read = partial(read_conll, word_column=word_column, tag_column=tag_column)
    return TaggingTask(name, FileSplits(files, read, COLUMN_SUFFIXES), metrics, chosen_by, labels)


def conllu_task(
    name: str,
    files: SplitFiles,
    metrics: Sequence[str],
    chosen_by: str,
    tag_column: str = "upos",
    labels: Sequence[str] | None = None,
) -> TaggingTask:
    """Return a task of CoNLL-U files, such as the treebanks of Universal Dependencies.

    Args:
        name: Name of the task.
        files: The files.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
        tag_column: Column of the tags, such as upos or xpos.
        labels: Names of the tags; None takes those of the training file.
    """
    read = partial(read_conllu, tag_column=tag_column)
    return TaggingTask(name, FileSplits(files, read, (".conllu",)), metrics, chosen_by, labels)


def tagged_table_task(
    name: str,
    files: SplitFiles,
    metrics: Sequence[str],
    chosen_by: str,
    words: str = "words",
    tags: str = "tags",
    labels: Sequence[str] | None = None,
) -> TaggingTask:
    """Return a task of JSON lines or parquet with a list of words and a list of tags in each row.

    Args:
        name: Name of the task.
        files: The files.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
        words: Column of the words.
        tags: Column of the tags.
        labels: Names of the tags; None takes those of the training file.
    """
    read = partial(read_tagged_table, words=words, tags=tags)
    source = FileSplits(files, read, TABLE_SUFFIXES, partial(read, needs_tags=False))
    return TaggingTask(name, source, metrics, chosen_by, labels)
