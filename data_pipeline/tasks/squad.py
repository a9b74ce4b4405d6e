"""Questions about texts in the JSON of SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_pipeline.tasks.task_records import Answer, Question
from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.typed_fields import build, shown, without_unknown

MAX_FILE_BYTES = 1 << 28
"""Most bytes of one file, which is parsed as a whole; SQuAD 2.0's training set has about 42 million."""


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    answer_start: int


@dataclass(frozen=True, slots=True)
class _Question:
    id: str
    question: str
    answers: list[_Answer] = field(default_factory=list)
    is_impossible: bool = False


@dataclass(frozen=True, slots=True)
class _Paragraph:
    context: str
    qas: list[_Question]


@dataclass(frozen=True, slots=True)
class _Article:
    paragraphs: list[_Paragraph]


@dataclass(frozen=True, slots=True)
class _File:
    data: list[_Article]


def read_squad(path: Path) -> list[Question]:
    """Return the questions of a file, in its order; version 1.1 has no impossible ones.

    Raises:
        ValueError: naming the file and the entry: it is no such JSON, holds no question or two with one id, or an
            answer is not in its context at the offset that the file gives.
    """
    questions: dict[str, Question] = {}
    for question in _questions(path, _parse(path)):
        if questions.setdefault(question.identifier, question) is not question:
            raise ValueError(f"{question.where} has the id of another question: {shown(question.identifier)}")
    if not questions:
        raise ValueError(f"{path} holds no questions")
    return list(questions.values())


def _parse(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"{path} is longer than {MAX_FILE_BYTES} bytes")
    where = str(path)
    return build(_File, without_unknown(_File, parse_object(content.removeprefix(b"\xef\xbb\xbf"), where)), where)


def _questions(path: Path, content: _File) -> Iterator[Question]:
    for article_number, article in enumerate(content.data):
        for paragraph_number, paragraph in enumerate(article.paragraphs):
            for number, entry in enumerate(paragraph.qas):
                where = f"{path}, data[{article_number}].paragraphs[{paragraph_number}].qas[{number}]"
                yield _question(paragraph.context, entry, where)


def _question(context: str, entry: _Question, where: str) -> Question:
    for answer in entry.answers:
        if not context.startswith(answer.text, answer.answer_start) or not answer.text:
            raise ValueError(
                f"{where} has the answer {shown(answer.text)}, but its context has "
                f"{shown(context[answer.answer_start :][: len(answer.text)])} at answer_start={answer.answer_start}"
            )
    answers = tuple(Answer(answer.text, answer.answer_start) for answer in entry.answers)
    return Question(
        entry.id, entry.question, context, () if entry.is_impossible else answers, entry.is_impossible, where
    )
