"""What the readers of fine-tuning tasks yield: one record an example, with the line that it comes from.

`where` of every record is the file with the line, row or entry, as errors name it.
"""

from dataclasses import dataclass

Label = str | float | tuple[str, ...]
"""The name of a class, a number such as a similarity, or the names of all classes that apply."""


@dataclass(frozen=True, slots=True)
class LabeledText:
    """One text, or a pair of texts, with its label.

    Attributes:
        identifier: Unique within its split.
        text: The first text.
        text_pair: The second text; None if the task has single texts.
        label: None if the file holds no labels.
        where: File and line.
    """

    identifier: str
    text: str
    text_pair: str | None
    label: Label | None
    where: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A right answer to a question: a span of its context.

    Attributes:
        text: The span itself.
        start: Offset of its first character in the context.
    """

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a text.

    Attributes:
        identifier: Unique within its file; prediction files are keyed by it.
        question: The question.
        context: The text that answers are spans of.
        answers: The right answers, in the order of the file; empty if there is none or it is not known.
        is_impossible: True if the context does not answer the question (SQuAD 2.0).
        where: File and entry.
    """

    identifier: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    is_impossible: bool
    where: str


@dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """A text and its possible continuations or answers, one of which is right.

    Attributes:
        identifier: Unique within its split.
        text: The text that all choices share.
        choices: The choices.
        label: Index of the right choice; None if the file holds no labels.
        where: File and line.
    """

    identifier: str
    text: str
    choices: tuple[str, ...]
    label: int | None
    where: str


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """The words of a sentence with a tag for each.

    Attributes:
        identifier: Unique within its file.
        words: The words.
        tags: One tag a word; None if the file holds no tags.
        where: File and first line.
    """

    identifier: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    where: str
