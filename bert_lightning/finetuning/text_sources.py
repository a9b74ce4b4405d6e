"""Where the texts of a task come from: the official files of GLUE, or tables of the user's own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from bert_lightning.finetuning.split_sources import SplitFiles
from bert_lightning.finetuning.task import TRAIN, VALIDATION
from data_pipeline.tasks.glue import GLUE_TASKS, read_glue
from data_pipeline.tasks.tables import TABLE_SUFFIXES, Row, read_texts
from data_pipeline.tasks.task_records import Label, LabeledText

Splits = dict[str, list[LabeledText]]


class TextSource(Protocol):
    """Something that has splits of texts."""

    def splits(self) -> Splits:
        """Return the texts of every split that there is, by its name."""

    def naming(self, splits: Splits) -> list[LabeledText]:
        """Return the texts whose labels are all that there are, unless the settings name them."""


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
        """Return the splits that have files of their own; training and validation must have some."""
        layout = GLUE_TASKS[self.task]
        others = ("mismatched", "test", "official_test", "mismatched_test")
        files = {name: found for name in others if (found := layout.files(self.path, name))}
        if files.get("official_test") == files.get("test"):
            files.pop("official_test", None)
        return {name: read_glue(layout, self.path, name) for name in (TRAIN, VALIDATION, *files)}

    def naming(self, splits: Splits) -> list[LabeledText]:
        """Return the training split."""
        return splits[TRAIN]


@dataclass(frozen=True, slots=True)
class TableTexts:
    """Tables with named columns.

    Attributes:
        files: The files.
        text: Column of the text.
        label: Column of the label.
        text_pair: Column of the second text of a pair; None for single texts.
        identifier: Column that identifies examples; None counts them.
        read_label: How a label is read.
    """

    files: SplitFiles
    text: str
    label: str
    text_pair: str | None
    identifier: str | None
    read_label: Callable[[Row, str], Label]

    def splits(self) -> Splits:
        """Return the splits; examples to validate on are held out if no file holds any, a test file may lack labels."""
        read = partial(read_texts, text=self.text, text_pair=self.text_pair, label=self.label)
        read = partial(read, identifier=self.identifier, read_label=self.read_label)
        return self.files.read(read, TABLE_SUFFIXES, partial(read, needs_labels=False))

    def naming(self, splits: Splits) -> list[LabeledText]:
        """Return the rows of the training file, also those that are held out of it."""
        return self.files.in_training_file(splits, TABLE_SUFFIXES)
