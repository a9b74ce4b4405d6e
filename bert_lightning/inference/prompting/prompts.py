"""Tasks as text: what a causal model reads before it is asked for an answer (Radford et al., 2019; Brown et al., 2020).

A template has the names of fields in braces, such as {text}; everything else stands as it is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_FIELD = re.compile(r"\{(\w+)\}")


def read_template(template: str, fields: Sequence[str], setting: str = "template") -> str:
    r"""Return a template as a user types it with \n as a line break.

    >>> read_template(r"{text}\nTL;DR:", ["text"])
    '{text}\nTL;DR:'

    Args:
        template: The template.
        fields: Names of the fields that it may have, one of which it must have.
        setting: Name of the setting, for errors.

    Raises:
        ValueError: if it has none of the fields, or another one.
    """
    named = _FIELD.findall(template)
    known = ", ".join(f"{{{name}}}" for name in fields)
    if not named or not set(named) <= set(fields):
        raise ValueError(f"{setting} must have one or more of {known}, and no other name in braces; got {template}")
    return template.replace("\\n", "\n")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with the values of its fields; braces in values are text.

    >>> filled("Q: {text} A:", {"text": "who {is} it?"})
    'Q: who {is} it? A:'
    """
    return _FIELD.sub(lambda field: values[field[1]], template)


@dataclass(frozen=True, slots=True)
class Wording:
    """How a task is put in words.

    Attributes:
        template: The question, with {text} and {text_pair} for the texts of an example, or {context} and {question}.
        answers: Text of each label by its name; a label without one is its name.
    """

    template: str
    answers: Mapping[str, str] = field(default_factory=dict)

    @property
    def cue(self) -> str:
        """The end of the question, after the texts of the example."""
        return _FIELD.split(self.template)[-1].strip()


NO_ANSWER = "no_answer"
"""Name of the answer to a question that its text does not answer."""
WORDINGS = {
    "sst2": Wording("Review: {text}\nSentiment:"),
    "cola": Wording("Sentence: {text}\nIs the sentence acceptable?", {"unacceptable": "no", "acceptable": "yes"}),
    "mrpc": Wording(
        "{text}\n{text_pair}\nDo both sentences say the same?", {"not_equivalent": "no", "equivalent": "yes"}
    ),
    "qqp": Wording("{text}\n{text_pair}\nDo both ask the same?", {"not_duplicate": "no", "duplicate": "yes"}),
    "mnli": Wording(
        "{text}\nQuestion: {text_pair} True, false, or neither?\nAnswer:",
        {"entailment": "true", "neutral": "neither", "contradiction": "false"},
    ),
    "qnli": Wording(
        "{text_pair}\nDoes that answer the question: {text}\nAnswer:", {"entailment": "yes", "not_entailment": "no"}
    ),
    **dict.fromkeys(
        ("rte", "wnli"),
        Wording(
            "{text}\nQuestion: {text_pair} True or false?\nAnswer:", {"entailment": "true", "not_entailment": "false"}
        ),
    ),
    **dict.fromkeys(("swag", "codah", "multiple_choice"), Wording("{text}")),
    "squad": Wording("{context}\nQ: {question}\nA:"),
    "squad_v2": Wording("{context}\nQ: {question}\nA:", {NO_ANSWER: "unanswerable"}),
}
"""Wordings of the tasks in conf/task, by name."""
SINGLE, PAIR = Wording("Text: {text}\nLabel:"), Wording("Text: {text}\nText: {text_pair}\nLabel:")
"""Wordings of other tasks with one text and with two."""
SEPARATOR = "\n\n"
"""What stands between the examples of a prompt (Brown et al., 2020, section 2.4)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An example of a task in words.

    Attributes:
        question: The filled template.
        answers: Texts of the possible answers.
        right: Index of the right one; None if it is not known.
    """

    question: str
    answers: tuple[str, ...]
    right: int | None

    @property
    def solved(self) -> str:
        """The question with its right answer, as an example in a prompt."""
        assert self.right is not None
        return f"{self.question} {self.answers[self.right]}"


def few_shot_prompt(shown: Sequence[Asked], asked: Asked) -> str:
    r"""Return a prompt: examples with their right answers, then the question.

    >>> few_shot_prompt([Asked("2+2:", ("3", "4"), 1)], Asked("1+1:", ("2", "3"), 0))
    '2+2: 4\n\n1+1:'

    Args:
        shown: The examples, none for zero-shot.
        asked: The question.
    """
    return SEPARATOR.join([*(each.solved for each in shown), asked.question])
