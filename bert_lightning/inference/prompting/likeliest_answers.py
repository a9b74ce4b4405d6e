"""Tasks whose answers can be listed: the answer that the model finds likeliest is its choice.

The metrics are those of the task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bert_lightning.checkpoints.task_head import MULTIPLE_CHOICE, PROBLEM_TYPES, TaskHead
from bert_lightning.finetuning.task import TRAIN, Split, Task
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.prompting.answer_likelihoods import AnswerScorer
from bert_lightning.inference.prompting.asking import Prompting
from bert_lightning.inference.prompting.prompts import (
    PAIR,
    SINGLE,
    WORDINGS,
    Asked,
    Wording,
    filled,
    read_template,
)
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.settings.progress_bars import counted
from data_pipeline.tasks.task_records import ChoiceQuestion, LabeledText
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_tokens

QUESTIONS_AT_A_TIME = 64


def likeliest_means(
    task: Task, split: str, prompting: Prompting, model: LoadedModel, batch_tokens: int
) -> dict[str, float]:
    """Return the metrics of the task for each number of shots, the number of examples, and of prompts that were cut.

    A prompt that is too long for the model loses its beginning, so examples vanish before the question does.

    Args:
        task: A task with one class for each text, or with choices.
        split: Name of the split that is scored.
        prompting: How it is asked.
        model: A causal model.
        batch_tokens: Most tokens of a batch.

    Raises:
        ValueError: naming the setting, or the file and the line, at fault.
    """
    scorer = AnswerScorer(model, "a task in words", batch_tokens)
    splits = task.prepare(model.tokenizer, model.config.max_position_embeddings)
    train = splits[TRAIN]
    prompting.check(split, [name for name, each in splits.items() if each.is_labeled], len(train.records))
    scored = _some(splits[split], prompting)
    ask = _asking(task, scored.records, prompting)
    asked, solved = [ask(each) for each in scored.records], [ask(each) for each in train.records]
    examiner = _Examiner(scorer, model, prompting.normalize, ask.cue)
    examiner.check(asked)
    means: dict[str, float] = {}
    for shots in prompting.shots:
        scores, num_cut = examiner.scores(prompting.prompts(asked, solved, shots), asked)
        values = ExampleScores(scores, np.arange(len(asked) + 1))
        means |= {f"{shots}_shots_{name}": value for name, value in task.metrics(scored, values).items()}
        means |= {f"{shots}_shots_cut": num_cut}
    return means | {"examples": len(asked)}


def _some(split: Split, prompting: Prompting) -> Split:
    """Return the examples of a split that are asked about."""
    rows = prompting.rows(len(split.records))
    if len(rows) == len(split.records):
        return split
    return replace(split, encoded=split.encoded.take(rows), records=[split.records[row] for row in rows])


@dataclass(frozen=True, slots=True)
class _Asking:
    """Puts the records of a task in words."""

    wording: Wording
    labels: Sequence[str]

    @property
    def cue(self) -> str:
        return self.wording.cue

    def __call__(self, record: Any) -> Asked:
        if isinstance(record, ChoiceQuestion):
            return Asked(filled(self.wording.template, {"text": record.text}), record.choices, record.label)
        assert isinstance(record, LabeledText)
        texts = {"text": record.text, "text_pair": record.text_pair or ""}
        answers = tuple(self.wording.answers.get(name, name) for name in self.labels)
        right = None if record.label is None else list(self.labels).index(str(record.label))
        return Asked(filled(self.wording.template, texts), answers, right)


def _asking(task: Task, records: Sequence[Any], prompting: Prompting) -> _Asking:
    """Return the wording of a task; ValueError if it has no answers to choose from, or settings do not fit."""
    head = task.head()
    if head.kind != MULTIPLE_CHOICE and head.problem_type != PROBLEM_TYPES[0]:
        raise ValueError(f"task={task.name} has neither one class for each text nor choices, so no answers to compare")
    is_pair = getattr(records[0], "text_pair", None) is not None
    wording = WORDINGS.get(task.name, PAIR if is_pair else SINGLE)
    if prompting.template is not None:
        fields = ("text", "text_pair") if is_pair else ("text",)
        wording = replace(wording, template=read_template(prompting.template, fields, "prompting.template"))
    if prompting.answers is not None:
        _check_answers(prompting.answers, head)
        wording = replace(wording, answers=prompting.answers)
    return _Asking(wording, head.labels)


def _check_answers(answers: Mapping[str, str], head: TaskHead) -> None:
    if unknown := sorted(set(answers) - set(head.labels)):
        known = ", ".join(head.labels) or "none: the choices are the answers"
        raise ValueError(f"prompting.answers has {unknown[0]}, which is no label; labels: {known}")


class _Examiner:
    """Scores the answers to questions."""

    def __init__(self, scorer: AnswerScorer, model: LoadedModel, normalize: str, cue: str) -> None:
        self._scorer = scorer
        self._most = model.config.max_position_embeddings
        self._tokenizer: Tokenizer = plain_text_tokenizer(model.tokenizer)
        self._start = special_tokens(model.tokenizer).cls
        self._normalize = normalize
        self._cue = self._ids(cue)

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def scores(self, prompts: Sequence[str], asked: Sequence[Asked]) -> tuple[NDArray[np.float32], int]:
        """Return the score of every answer, (questions, answers), and how many prompts were cut."""
        rows: list[NDArray[np.float64]] = []
        num_cut = 0
        begins = range(0, len(prompts), QUESTIONS_AT_A_TIME)
        for begin in counted(begins, "asking", len(begins)):
            befores: list[list[int]] = []
            answers: list[list[int]] = []
            for prompt, each in zip(prompts[begin:], asked[begin : begin + QUESTIONS_AT_A_TIME], strict=False):
                ids, choices = self._ids(prompt), [self._ids(f" {answer}") for answer in each.answers]
                room = self._room(each, choices)
                num_cut += len(ids) > room
                befores += [[self._start, *ids[max(len(ids) - room, 0) :]]] * len(choices)
                answers += choices
            rows.append(self._scored(befores, answers))
        return np.concatenate(rows).reshape(len(asked), -1).astype(np.float32), num_cut

    def check(self, asked: Sequence[Asked]) -> None:
        """Raise a ValueError if an answer is empty or longer than the model, before any question is asked.

        With `context` it must fit behind the end of the template, too.
        """
        for each in asked:
            room = self._room(each, [self._ids(f" {answer}") for answer in each.answers])
            if self._normalize == "context" and len(self._cue) > room:
                raise ValueError(
                    f"prompting.template has {len(self._cue)} tokens after its last field, and prompting.normalize="
                    f"context reads them with each answer; the answers to {each.question!r} leave room for {room}"
                )

    def _room(self, asked: Asked, answers: Sequence[Sequence[int]]) -> int:
        """Return how many tokens of a prompt fit before its longest answer."""
        longest, room = max(answers, key=len), self._most - 1 - max(map(len, answers))
        if room < 1 or not all(answers):
            raise ValueError(
                f"an answer to {asked.question!r} has {len(longest) if room < 1 else 0} tokens; it must have from 1 to "
                f"{self._most - 2}"
            )
        return room

    def _scored(self, befores: Sequence[list[int]], answers: Sequence[list[int]]) -> NDArray[np.float64]:
        found = self._scorer.log_likelihoods(befores, answers)
        if self._normalize == "tokens":
            return found / [len(answer) for answer in answers]
        if self._normalize == "context":
            return found - self._scorer.log_likelihoods([[self._start, *self._cue]] * len(answers), answers)
        return found
