"""The tasks of GLUE in their official files (Wang et al., 2019), and as their authors first published some of them.

A file may have a header or none: the training files of CoLA, and STS-B's first release, have none. Test files without
labels are read too. There is no quoting: MRPC has quotation marks without a partner.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from data_pipeline.tasks.tables import Row, tab_fields
from data_pipeline.tasks.task_records import LabeledText
from data_pipeline.untrusted.typed_fields import listed, shown
from data_pipeline.whole_numbers import number_of

log = logging.getLogger(__name__)

Files = tuple[str, ...]
_SUFFIXES = (".tsv", ".csv", ".txt")
_TRAIN: tuple[Files, ...] = (("train.tsv",),)
_VALIDATION: tuple[Files, ...] = (("dev.tsv",),)
_TEST: tuple[Files, ...] = (("test.tsv",),)


@dataclass(frozen=True, slots=True)
class GlueTask:
    """Layout of one task.

    Attributes:
        folder: Name of its folder in the official archive.
        columns: Columns of a file without header, in order; more may follow.
        label: Column of the labels; test files may lack it.
        text: Column of the text.
        text_pair: Column of the second text of a pair; None for single texts.
        classes: Name of each class by its value in the files, in the order of the ids; empty if labels are numbers.
        train: Files of the training split: the first alternative of which all files exist is read.
        validation: Files of the validation split.
        test: Files of the test split, those that were published with labels first.
        official_test: Files of the official test split, whose labels the server keeps, if `test` has others too.
        mismatched: Files of the mismatched validation split of MNLI.
        mismatched_test: Files of the mismatched test split of MNLI.
        skips_short_lines: True leaves out lines with too few fields, which the official files of QQP have.
    """

    folder: str
    columns: tuple[str, ...]
    label: str
    text: str = "sentence1"
    text_pair: str | None = "sentence2"
    classes: dict[str, str] = field(default_factory=dict)
    train: tuple[Files, ...] = _TRAIN
    validation: tuple[Files, ...] = _VALIDATION
    test: tuple[Files, ...] = _TEST
    official_test: tuple[Files, ...] = ()
    mismatched: tuple[Files, ...] = ()
    mismatched_test: tuple[Files, ...] = ()
    skips_short_lines: bool = False

    def files(self, folder: Path, split: str) -> list[Path]:
        """Return the files of a split, [] if the folder has none.

        Args:
            folder: Folder of the task, or one that contains it.
            split: train, validation, test, official_test, mismatched or mismatched_test.
        """
        folder = folder / self.folder if (folder / self.folder).is_dir() else folder
        for names in getattr(self, split):
            if all((folder / name).is_file() for name in names):
                return [folder / name for name in names]
        return []


_ENTAILMENT = {"entailment": "entailment", "not_entailment": "not_entailment"}
_SENTENCES = ("index", "sentence1", "sentence2", "label")

GLUE_TASKS = {
    "cola": GlueTask(
        folder="CoLA",
        columns=("source", "label", "mark", "sentence"),
        label="label",
        text="sentence",
        text_pair=None,
        classes={"0": "unacceptable", "1": "acceptable"},
        train=(*_TRAIN, ("raw/in_domain_train.tsv",)),
        validation=(*_VALIDATION, ("raw/in_domain_dev.tsv", "raw/out_of_domain_dev.tsv")),
    ),
    "sst2": GlueTask(
        folder="SST-2",
        columns=("sentence", "label"),
        label="label",
        text="sentence",
        text_pair=None,
        classes={"0": "negative", "1": "positive"},
        test=(("test-labeled.tsv",), *_TEST),
        official_test=_TEST,
    ),
    "mrpc": GlueTask(
        folder="MRPC",
        columns=("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
        label="Quality",
        text="#1 String",
        text_pair="#2 String",
        classes={"0": "not_equivalent", "1": "equivalent"},
        train=(*_TRAIN, ("msr-para-train.tsv",), ("msr_paraphrase_train.txt",)),
        validation=(*_VALIDATION, ("msr-para-val.tsv",)),
        test=(("msr-para-test.tsv",), ("msr_paraphrase_test.txt",), *_TEST),
        official_test=_TEST,
    ),
    "stsb": GlueTask(
        folder="STS-B",
        columns=("genre", "filename", "year", "old_index", "score", "sentence1", "sentence2"),
        label="score",
        train=(*_TRAIN, ("sts-train.csv",)),
        validation=(*_VALIDATION, ("sts-dev.csv",)),
        test=(("sts-test.csv",), *_TEST),
        official_test=_TEST,
    ),
    "qqp": GlueTask(
        folder="QQP",
        columns=("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
        label="is_duplicate",
        text="question1",
        text_pair="question2",
        classes={"0": "not_duplicate", "1": "duplicate"},
        skips_short_lines=True,
    ),
    "mnli": GlueTask(
        folder="MNLI",
        columns=(
            *("index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"),
            *("sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "label1", "gold_label"),
        ),
        label="gold_label",
        classes={"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"},
        validation=(("dev_matched.tsv",),),
        test=(("test_matched.tsv",),),
        mismatched=(("dev_mismatched.tsv",),),
        mismatched_test=(("test_mismatched.tsv",),),
    ),
    "qnli": GlueTask(
        folder="QNLI",
        columns=("index", "question", "sentence", "label"),
        label="label",
        text="question",
        text_pair="sentence",
        classes=_ENTAILMENT,
    ),
    "rte": GlueTask(
        folder="RTE", columns=_SENTENCES, label="label", classes=_ENTAILMENT, validation=(*_VALIDATION, ("val.tsv",))
    ),
    "wnli": GlueTask(
        folder="WNLI", columns=_SENTENCES, label="label", classes={"0": "not_entailment", "1": "entailment"}
    ),
}
"""The tasks by name."""


def read_glue(task: GlueTask, folder: Path, split: str) -> list[LabeledText]:
    """Return the examples of a split, with their labels by name, or as numbers if the task is a regression.

    Args:
        task: The task, one of `GLUE_TASKS`.
        folder: Folder of the task, or one that contains it.
        split: train, validation, test, official_test, mismatched or mismatched_test.

    Raises:
        ValueError: naming the file and line: a file, a column or a field is missing, or a label is not of the task.
    """
    files = task.files(folder, split)
    if not files:
        tried = " or ".join(" with ".join(names) for names in getattr(task, split))
        raise ValueError(f"task.path={folder} has no {split} split of {task.folder}: {tried or 'it has no such split'}")
    examples: list[LabeledText] = []
    for file in files:
        examples += read_glue_file(task, file, len(examples), needs_labels=not split.endswith("test"))
    return examples


def read_glue_file(task: GlueTask, file: Path, first: int = 0, needs_labels: bool = True) -> list[LabeledText]:
    """Return the examples of one file, as `read_glue` does.

    Args:
        task: The task, one of `GLUE_TASKS`.
        file: The file.
        first: Number of its first example.
        needs_labels: Whether the file must have labels.
    """
    examples = [_example(task, row, number, needs_labels) for number, row in enumerate(_rows(task, file), first)]
    if not examples:
        raise ValueError(f"{file} holds no examples")
    return examples


def is_official(task: GlueTask, file: Path, column: str) -> bool:
    """Return whether a file is laid out as those of a task, with its columns in the header or without a header.

    Args:
        task: The task, one of `GLUE_TASKS`.
        file: The file.
        column: A column that other files have.
    """
    if file.suffix not in _SUFFIXES:
        return False
    _, fields = next(tab_fields(file), ("", []))
    return _is_header(task, fields) or (column not in fields and len(fields) >= len(task.columns))


def _is_header(task: GlueTask, fields: list[str]) -> bool:
    return {task.text, task.text_pair or task.text} <= set(fields)


def _rows(task: GlueTask, file: Path) -> Iterator[Row]:
    """Yield the rows of a file; fields without a column in the header are left out."""
    lines = tab_fields(file)
    where, header = next(lines, ("", []))
    columns = list(task.columns)
    if _is_header(task, header):
        columns = header
    elif header:
        lines = chain([(where, header)], lines)
    short = []
    for where, fields in lines:
        if len(fields) >= len(columns):
            yield Row(dict(zip(columns, fields, strict=False)), where)
        elif task.skips_short_lines:
            short.append(where)
        else:
            raise ValueError(
                f"{where} has {number_of(len(fields), 'field')}; {task.folder} has {len(columns)}: {listed(columns)}"
            )
    if short:
        said = number_of(len(short), "line")
        log.warning("left out: %s with fewer than %d fields: %s", said, len(columns), listed(short))


def _example(task: GlueTask, row: Row, number: int, needs_labels: bool) -> LabeledText:
    has_label = task.label in row.values or needs_labels
    return LabeledText(
        identifier=row.text("index") if "index" in row.values else str(number),
        text=row.text(task.text),
        text_pair=row.text(task.text_pair) if task.text_pair else None,
        label=_label(task, row) if has_label else None,
        where=row.where,
    )


def _label(task: GlueTask, row: Row) -> str | float:
    if not task.classes:
        return row.number(task.label)
    value = row.text(task.label).strip()
    if value in task.classes.values():
        return value
    if value not in task.classes:
        raise ValueError(f"{row.where} has {task.label}={shown(value)}, which must be one of {', '.join(task.classes)}")
    return task.classes[value]
