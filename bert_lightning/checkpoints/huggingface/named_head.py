"""The head of a fine-tuned model of transformers, as config.json and the names of the tensors tell it."""

from collections.abc import Collection, Mapping
from typing import Any

from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.task_head import (
    KINDS,
    PROBLEM_TYPES,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    TaskHead,
)
from data_pipeline.tasks.encoded import FIRST
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.typed_fields import checked, listed, shown, whole_number

_MOST_LABELS = 1 << 20
_TOLD_BY_TENSORS = (QUESTION_ANSWERING, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION)
"""Kinds that the names of tensors tell; of multiple choice they are those of sequences."""
_SUFFIXES = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice", "ForQuestionAnswering")


def find_head(content: Mapping[str, Any], modules: Collection[str], family: Family, where: str) -> TaskHead | None:
    """Return the head of a Hugging Face model, None if it has none that a task trains.

    The class that config.json names decides. A file that names no such class is judged by its tensors: a classifier
    that reads a pooler is one of sequences, another is one of tokens.

    Args:
        content: The object in config.json.
        modules: Names of the modules that have tensors, in the terms of transformers.
        family: The family that config.json names.
        where: The file, for errors.

    Raises:
        ValueError: if the class cannot be read, the labels are no names, or they do not have the numbers 0, 1, 2, ...
    """
    named = checked(content.get("architectures"), list[str] | None, where, "architectures") or []
    kinds = [kind for kind, known in family.tasks.items() if known.name in named]
    unread = [name for name in named if not kinds and name.endswith(_SUFFIXES)]
    if unread:
        raise ValueError(f"{where} names {printable(unread[0])}, whose head is none that fine-tuning trains here")
    is_named = bool(kinds)
    kinds += [kind for kind in _TOLD_BY_TENSORS if kind in family.tasks and _has_all(modules, family, kind)]
    if not kinds:
        return None
    if not is_named and len({frozenset(family.tasks[kind].modules.values()) for kind in kinds}) < len(kinds):
        known = listed(family.tasks[kind].name for kind in kinds)
        raise ValueError(f"{where} names none of its classes in architectures, and its tensors are those of {known}")
    for key, only in family.tasks[kinds[0]].constants.items():
        if content.get(key) not in (None, only):
            raise ValueError(f"{where} has {key}={shown(content[key])}; only {shown(only)} can be read")
    labels = _labels(content, where) if KINDS[kinds[0]].outputs is None else []
    try:
        problem_type = _problem_type(content, kinds[0], labels, where)
        extract = family.extract if family.extract in KINDS[kinds[0]].extracts else FIRST
        return TaskHead(kinds[0], labels, problem_type, extract=extract)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _has_all(modules: Collection[str], family: Family, kind: str) -> bool:
    return set(family.tasks[kind].modules.values()) <= set(modules)


def _labels(content: Mapping[str, Any], where: str) -> list[str]:
    """Return the names of the labels; transformers assumes two and calls them LABEL_0 and LABEL_1."""
    names = checked(content.get("id2label"), dict[str, str] | None, where, "id2label")
    if not names:
        number = whole_number(content.get("num_labels", 2), where, "num_labels", 1, _MOST_LABELS)
        return [f"LABEL_{label}" for label in range(number)]
    numbers = [str(number) for number in range(len(names))]
    if set(names) != set(numbers):
        raise ValueError(f"{where} numbers the labels of id2label {listed(sorted(names))}, not 0, 1, 2, ...")
    return [names[number] for number in numbers]


def _problem_type(content: Mapping[str, Any], kind: str, labels: Collection[str], where: str) -> str | None:
    """Return the problem type; where the file is silent, one label is a number and several exclude each other."""
    if kind != SEQUENCE_CLASSIFICATION:
        return None
    usual = PROBLEM_TYPES[-1] if len(labels) == 1 else PROBLEM_TYPES[0]
    return checked(content.get("problem_type"), str | None, where, "problem_type") or usual
