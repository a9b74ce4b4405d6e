"""Questions with several choices: SWAG, CODAH and tables of one's own.

All questions of a file have the same number of choices, as a softmax over them needs.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from data_pipeline.tasks.tables import Row, named_by, read_table, tab_fields
from data_pipeline.tasks.task_records import ChoiceQuestion
from data_pipeline.whole_numbers import number_of

CODAH_COLUMNS = ("category", "prompt", "choice0", "choice1", "choice2", "choice3", "label")


def read_swag(path: Path) -> list[ChoiceQuestion]:
    """Return the questions of a table with SWAG's columns: sent1, sent2, ending0 ... and label (Zellers et al., 2018).

    The first text is sent1. A choice is sent2, the begin of the second sentence, with one of the endings. Test files
    have no label.
    """
    return _same_width((_swag_question(row, number) for number, row in enumerate(read_table(path))), path)


def read_codah(path: Path) -> list[ChoiceQuestion]:
    """Return the questions of a file of CODAH, which has no header (Chen et al., 2019)."""
    return _same_width((_codah_question(*line, number) for number, line in enumerate(tab_fields(path))), path)


def read_any_choices(
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


def read_choices(
    path: Path,
    text: str = "text",
    choices: str = "choices",
    label: str | None = "label",
    settings: Mapping[str, str] | None = None,
    needs_labels: bool = True,
) -> list[ChoiceQuestion]:
    """Return the questions of JSON lines or parquet.

    Args:
        path: The file.
        text: Column of the text that the choices share.
        choices: Column of the choices, a list of texts.
        label: Column of the index of the right choice, counted from 0; None reads no labels.
        settings: Settings that name the columns, by column; None: those of a task.
        needs_labels: Whether every row must have a label; if not, rows without the column, or with nothing in it, have
            none.
    """
    if settings is None:
        settings = named_by("task.", label=label, choices=choices, text=text)
    questions = (
        ChoiceQuestion(
            str(number),
            row.text(text),
            _choices(row, choices),
            _label(row, label, needs_labels),
            row.where,
        )
        for number, row in enumerate(read_table(path, settings))
    )
    return _same_width(map(_checked, questions), path)


def _swag_question(row: Row, number: int) -> ChoiceQuestion:
    endings = sorted((name for name in row.values if re.fullmatch(r"ending\d", name)), key=lambda name: int(name[6:]))
    if endings != [f"ending{index}" for index in range(len(endings))]:
        raise ValueError(f"{row.where} has {', '.join(endings)}; endings are numbered from ending0 without gaps")
    begin = row.text("sent2")
    choices = tuple(f"{begin} {row.text(ending)}".strip() for ending in endings)
    label = _label(row, "label", is_needed=False)
    return _checked(ChoiceQuestion(str(number), row.text("sent1"), choices, label, row.where))


def _codah_question(where: str, fields: list[str], number: int) -> ChoiceQuestion:
    if len(fields) != len(CODAH_COLUMNS):
        raise ValueError(
            f"{where} has {number_of(len(fields), 'field')}; CODAH has {len(CODAH_COLUMNS)}: {', '.join(CODAH_COLUMNS)}"
        )
    row = Row(dict(zip(CODAH_COLUMNS, fields, strict=True)), where)
    return _checked(
        ChoiceQuestion(str(number), row.text("prompt"), tuple(fields[2:6]), row.whole_number("label"), where)
    )


def _choices(row: Row, column: str) -> tuple[str, ...]:
    choices = row.value(column)
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise row.wrong(column, "a list of texts")
    return tuple(choices)


def _label(row: Row, column: str | None, is_needed: bool) -> int | None:
    return None if column is None or (row.is_empty(column) and not is_needed) else row.whole_number(column)


def _checked(question: ChoiceQuestion) -> ChoiceQuestion:
    count = len(question.choices)
    if count < 2:
        raise ValueError(f"{question.where} has {number_of(count, 'choice')}; at least 2 are needed")
    if question.label is not None and not 0 <= question.label < count:
        raise ValueError(f"{question.where} has label={question.label}, which must be from 0 to {count - 1}")
    return question


def _same_width(questions: Iterable[ChoiceQuestion], path: Path) -> list[ChoiceQuestion]:
    """Return the questions; ValueError with both lines if their numbers of choices differ, or if there are none."""
    checked: list[ChoiceQuestion] = []
    for question in questions:
        first = checked[0] if checked else question
        if len(question.choices) != len(first.choices):
            raise ValueError(
                f"{question.where} has {number_of(len(question.choices), 'choice')}, but {first.where} has "
                f"{len(first.choices)}: all questions need the same number"
            )
        checked.append(question)
    if not checked:
        raise ValueError(f"{path} holds no questions")
    return checked
