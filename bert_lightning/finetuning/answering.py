"""Questions whose answers are spans of a text: SQuAD 1.1 and 2.0 (Devlin et al., 2019, sections 4.2 and 4.3)."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from bert_lightning.checkpoints.task_head import QUESTION_ANSWERING, TaskHead
from bert_lightning.finetuning.split_sources import FileSplits, Source, SplitFiles, check_answers
from bert_lightning.finetuning.squad_answers import AnsweredQuestion, answer_questions, write_answers
from bert_lightning.finetuning.squad_metrics import (
    AnswerScores,
    metrics_v1,
    metrics_v2,
    score_v1,
    score_v2,
    without_answers,
)
from bert_lightning.finetuning.task import VALIDATION, Split, Task
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.question_answering import AnswerableQuestionAnswering, QuestionAnswering
from data_pipeline.tasks.answer_windows import AnswerWindows, encode_questions
from data_pipeline.tasks.squad import read_squad
from data_pipeline.tasks.task_records import Question
from data_pipeline.whole_numbers import check_whole_number

THRESHOLD = "best_f1_threshold"


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """How texts are read, and how long answers and lists of answers may be.

    Attributes:
        doc_stride: Tokens between the begins of two windows of a text.
        max_query_length: Most tokens of a question.
        n_best_size: Most answers of a question in nbest_predictions.json.
        max_answer_length: Most tokens of an answer.
    """

    doc_stride: int = 128
    max_query_length: int = 64
    n_best_size: int = 20
    max_answer_length: int = 30

    def __post_init__(self) -> None:
        for name in ("doc_stride", "max_query_length", "n_best_size", "max_answer_length"):
            check_whole_number(f"task.{name}", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSplit(Split):
    """The questions of one split; its examples are their windows.

    Attributes:
        windows: The windows, with the characters that their tokens stand for.
    """

    windows: AnswerWindows


class AnsweringTask(Task):
    """Every question has an answer in its text (SQuAD 1.1).

    Args:
        name: Name of the task.
        source: Where the questions come from.
        settings: How texts are read.
        chosen_by: The metric that the best checkpoint is chosen by, exact_match or f1.
        answerability_weight: Factor of the loss of a classifier on [CLS], whose logit then are the null odds; None for
            a model without it, in which [CLS] is compared with the best span.
    """

    known_metrics: tuple[str, ...] = ("exact_match", "f1")
    _measure = staticmethod(score_v1)

    def __init__(
        self,
        name: str,
        source: Source[Question],
        settings: WindowSettings,
        chosen_by: str,
        answerability_weight: float | None = None,
    ) -> None:
        if chosen_by not in self.known_metrics:
            raise ValueError(f"task.chosen_by must be one of {', '.join(self.known_metrics)}; got {chosen_by}")
        if answerability_weight is not None and answerability_weight <= 0:
            raise ValueError(f"task.answerability_weight must be null or above 0; got {answerability_weight}")
        super().__init__(name, chosen_by)
        self._source = source
        self._settings = settings
        self._answerability_weight = answerability_weight
        self._answered: tuple[ExampleScores, list[AnsweredQuestion]] | None = None

    def prepare(self, tokenizer: Tokenizer, seq_len: int, is_causal: bool = False) -> dict[str, Split]:
        """Read the questions and cut their texts into windows."""
        splits: dict[str, Split] = {}
        for name, questions in self.questions().items():
            sizes = (seq_len, self._settings.doc_stride, self._settings.max_query_length)
            windows = encode_questions(tokenizer, questions, *sizes)
            is_labeled = all(map(_is_answered, questions))
            splits[name] = QuestionSplit(
                name=name, encoded=windows.examples, records=questions, is_labeled=is_labeled, windows=windows
            )
        return splits

    def questions(self) -> dict[str, list[Question]]:
        """Return the questions of every split; ValueError if one cannot be had in this task or trained on."""
        splits = self._source.splits()
        for questions in splits.values():
            for question in questions:
                if question.is_impossible and not self.may_be_impossible:
                    raise ValueError(f"{question.where} is impossible to answer, as in SQuAD 2.0; take task=squad_v2")
        check_answers(splits, _is_answered, "answer")
        return splits

    @property
    def max_answer_length(self) -> int:
        """Most tokens of an answer."""
        return self._settings.max_answer_length

    @property
    def may_be_impossible(self) -> bool:
        """Whether a question may have no answer."""
        return False

    def objective(
        self, config: EncoderConfig, attention: PackedAttention, classifier_dropout: float | None
    ) -> QuestionAnswering:
        """Return a new model, with a classifier on [CLS] if its loss has a weight; no dropout, as in BERT's head."""
        if self._answerability_weight is None:
            return QuestionAnswering(config, attention)
        return AnswerableQuestionAnswering(config, attention, self._answerability_weight)

    def head(self) -> TaskHead:
        """Return the kind of the head."""
        return TaskHead(QUESTION_ANSWERING)

    def metrics(self, split: Split, scores: ExampleScores) -> dict[str, float]:
        """Return exact match and F1 of the official script, as shares."""
        return metrics_v1(self._answer_scores(split, scores))

    def predictions(self, split: Split, scores: ExampleScores) -> Iterator[dict[str, Any]]:
        """Yield the answer to each question, its score and that of no answer, and how good the answer is.

        If there may be no answer, a line also has the best span and how much better no answer is than it.
        """
        threshold = self._threshold(split, scores)
        answers = self.answers(split, scores)
        texts = [answer.text(threshold) for answer in answers]
        measured = self._answer_scores(split, scores) if split.is_labeled else None
        if measured is not None and threshold is not None:
            measured = without_answers(measured, np.array([answer.null_odds > threshold for answer in answers]))
        for row, (question, answer) in enumerate(zip(split.records, answers, strict=True)):
            best = answer.candidates[0].score if answer.candidates else answer.no_answer.score
            line = {"id": question.identifier, "prediction": texts[row], "scores": [best, answer.no_answer.score]}
            if measured is not None:
                line["label"] = [each.text for each in question.answers]
                line |= {"exact_match": measured.exact[row].item(), "f1": measured.f1[row].item()}
            if threshold is not None:
                line |= {"null_odds": answer.null_odds, "best_span": answer.best_text}
            yield line

    def write_files(self, split: Split, scores: ExampleScores, folder: Path) -> None:
        """Write the official files of predictions; those of other splits than validation begin with their name."""
        prefix = "" if split.name == VALIDATION else f"{split.name}_"
        answers = self.answers(split, scores)
        threshold = self._threshold(split, scores)
        write_answers(folder, split.records, answers, self._settings.n_best_size, threshold, prefix)

    def _threshold(self, split: Split, scores: ExampleScores) -> float | None:
        """Return the null odds above which there is no answer; None always answers."""
        return None

    def _answer_scores(self, split: Split, scores: ExampleScores) -> AnswerScores:
        """Return the scores of the best spans."""
        return self._measure(split.records, [answer.best_text for answer in self.answers(split, scores)])

    def answers(self, split: Split, scores: ExampleScores) -> list[AnsweredQuestion]:
        """Return the answers that scores stand for; those of the last scores are remembered."""
        assert isinstance(split, QuestionSplit)
        if self._answered is None or self._answered[0] is not scores:
            sizes = (self._settings.n_best_size, self._settings.max_answer_length)
            self._answered = scores, answer_questions(split.records, split.windows, scores.values, *sizes)
        return self._answered[1]


def _is_answered(question: Question) -> bool:
    return question.is_impossible or bool(question.answers)


class AnswerableTask(AnsweringTask):
    """A question may have no answer in its text (SQuAD 2.0).

    Args:
        name: Name of the task.
        source: Where the questions come from.
        settings: How texts are read.
        chosen_by: The metric that the best checkpoint is chosen by, such as best_f1.
        threshold: Null odds above which there is no answer; None takes those of the best F1 on the validation split.
        answerability_weight: As in `AnsweringTask`.
    """

    known_metrics = ("exact_match", "f1", "best_exact_match", "best_f1")
    _measure = staticmethod(score_v2)

    def __init__(
        self,
        name: str,
        source: Source[Question],
        settings: WindowSettings,
        chosen_by: str,
        threshold: float | None,
        answerability_weight: float | None,
    ) -> None:
        super().__init__(name, source, settings, chosen_by, answerability_weight)
        self._given_threshold = threshold
        self.needs_validation = threshold is None
        self._best_threshold = 0.0

    @property
    def may_be_impossible(self) -> bool:
        """Whether a question may have no answer."""
        return True

    def metrics(self, split: Split, scores: ExampleScores) -> dict[str, float]:
        """Return the metrics of the official script, as shares; the threshold is that of the validation split."""
        odds = np.array([answer.null_odds for answer in self.answers(split, scores)])
        answer_scores = self._answer_scores(split, scores)
        if split.name == VALIDATION:
            self._best_threshold = metrics_v2(answer_scores, odds, None)[THRESHOLD]
        return metrics_v2(answer_scores, odds, self._threshold(split, scores))

    def _threshold(self, split: Split, scores: ExampleScores) -> float:
        return self._best_threshold if self._given_threshold is None else self._given_threshold


def squad_task(
    name: str,
    files: SplitFiles,
    chosen_by: str,
    doc_stride: int = 128,
    max_query_length: int = 64,
    n_best_size: int = 20,
    max_answer_length: int = 30,
) -> AnsweringTask:
    """Return a task of questions that all have an answer, in the format of SQuAD 1.1.

    Args:
        name: Name of the task.
        files: The files.
        chosen_by: The metric that the best checkpoint is chosen by.
        doc_stride: Tokens between the begins of two windows of a text.
        max_query_length: Most tokens of a question.
        n_best_size: Most answers of a question in nbest_predictions.json.
        max_answer_length: Most tokens of an answer.
    """
    settings = WindowSettings(doc_stride, max_query_length, n_best_size, max_answer_length)
    return AnsweringTask(name, _squad_source(files), settings, chosen_by)


def squad_v2_task(
    name: str,
    files: SplitFiles,
    chosen_by: str,
    doc_stride: int = 128,
    max_query_length: int = 64,
    n_best_size: int = 20,
    max_answer_length: int = 30,
    null_score_diff_threshold: float | None = None,
    answerability_weight: float | None = None,
) -> AnswerableTask:
    """Return a task of questions that may have no answer, in the format of SQuAD 2.0.

    Args:
        name: Name of the task.
        files: The files.
        chosen_by: The metric that the best checkpoint is chosen by.
        doc_stride: Tokens between the begins of two windows of a text.
        max_query_length: Most tokens of a question.
        n_best_size: Most answers of a question in nbest_predictions.json.
        max_answer_length: Most tokens of an answer.
        null_score_diff_threshold: Null odds above which there is no answer; None takes the best for F1 on dev.
        answerability_weight: Factor of the loss of a classifier on [CLS]; None for a model without it.
    """
    settings = WindowSettings(doc_stride, max_query_length, n_best_size, max_answer_length)
    source = _squad_source(files)
    return AnswerableTask(name, source, settings, chosen_by, null_score_diff_threshold, answerability_weight)


def _squad_source(files: SplitFiles) -> Source[Question]:
    return FileSplits(files, read_squad, [".json"], group=attrgetter("context"))
