"""Where the texts of a task come from: the official files of GLUE, or tables of the user's own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from bert_lightning.finetuning.task import TRAIN, VALIDATION
from data_pipeline import rng
from data_pipeline.rng import Purpose
from data_pipeline.tasks.glue import GLUE_TASKS, read_glue
from data_pipeline.tasks.split_files import split_file
from data_pipeline.tasks.tables import TABLE_SUFFIXES, Row, read_texts
from data_pipeline.tasks.task_records import Label, LabeledText

Splits = dict[str, list[LabeledText]]
Record = TypeVar("Record")


class TextSource(Protocol):
    """Something that has splits of texts."""

    def splits(self) -> Splits:
        """Return the texts of every split that there is, by its name."""


@dataclass(frozen=True, slots=True)
class GlueTexts:
    """The official files of a GLUE task.

    Attributes:
        task: Name of the task in `GLUE_TASKS`.
        path: Folder of the task, or one that contains it.
    """

    task: str
    path: Path

    def splits(self) -> Splits:
        """Return the splits that have files; training and validation must have some."""
        layout = GLUE_TASKS[self.task]
        others = [name for name in ("mismatched", "test", "mismatched_test") if layout.files(self.path, name)]
        return {name: read_glue(layout, self.path, name) for name in (TRAIN, VALIDATION, *others)}


@dataclass(frozen=True, slots=True)
class TableTexts:
    """Tables with named columns: one file, or a folder with one for each split.

    Attributes:
        path: A file, or a folder with files named after train, validation (or dev) and test.
        text: Column of the text.
        label: Column of the label.
        text_pair: Column of the second text of a pair; None for single texts.
        identifier: Column that identifies examples; None counts them.
        validation_share: Share of the training examples that is held out if there is no validation file.
        read_label: How a label is read.
    """

    path: Path
    text: str
    label: str
    text_pair: str | None
    identifier: str | None
    validation_share: float
    read_label: Callable[[Row, str], Label]

    def splits(self) -> Splits:
        """Return the splits; examples to validate on are held out if no file holds any."""
        if not 0 < self.validation_share < 1:
            raise ValueError(f"task.validation_share must be between 0 and 1; got {self.validation_share}")
        if not self.path.exists():
            raise ValueError(f"task.path={self.path} does not exist")
        if self.path.is_dir():
            named = {name: split_file(self.path, name, TABLE_SUFFIXES) for name in (TRAIN, VALIDATION, "test")}
            files = {name: file for name, file in named.items() if file is not None}
        else:
            files = {TRAIN: self.path}
        if TRAIN not in files:
            raise ValueError(f"task.path={self.path} has no train file that ends in {', '.join(TABLE_SUFFIXES)}")
        columns = (self.text, self.text_pair, self.label, self.identifier)
        splits = {name: read_texts(file, *columns, read_label=self.read_label) for name, file in files.items()}
        return splits if VALIDATION in splits else held_out(splits, self.validation_share)


def held_out(splits: dict[str, list[Record]], share: float) -> dict[str, list[Record]]:
    """Return splits in which a share of the training examples, always the same ones, is the validation split."""
    train = splits[TRAIN]
    order = rng.permutation(rng.fold(0, Purpose.EXAMPLE_ORDER), len(train)).tolist()
    number = round(share * len(train))
    if not 0 < number < len(train):
        raise ValueError(
            f"task.validation_share={share} of {len(train)} examples leaves none to validate on, or none to train on"
        )
    chosen = set(order[:number])
    parts = {
        TRAIN: [example for row, example in enumerate(train) if row not in chosen],
        VALIDATION: [example for row, example in enumerate(train) if row in chosen],
    }
    return splits | parts
