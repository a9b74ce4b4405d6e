"""Where the texts of a task come from: the official files of GLUE, or tables of the user's own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bert_lightning.finetuning.split_sources import FileSplits, SplitFiles
from bert_lightning.finetuning.task import TRAIN, VALIDATION
from data_pipeline.tasks.glue import GLUE_TASKS, read_glue
from data_pipeline.tasks.tables import TABLE_SUFFIXES, Row, read_texts
from data_pipeline.tasks.task_records import Label, LabeledText

Splits = dict[str, list[LabeledText]]


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


def table_texts(
    files: SplitFiles,
    text: str,
    label: str,
    text_pair: str | None,
    identifier: str | None,
    read_label: Callable[[Row, str], Label],
) -> FileSplits[LabeledText]:
    """Return the texts of tables with named columns; a test file may lack labels.

    Args:
        files: The files.
        text: Column of the text.
        label: Column of the label.
        text_pair: Column of the second text of a pair; None for single texts.
        identifier: Column that identifies examples; None counts them.
        read_label: How a label is read.
    """
    read = partial(read_texts, text=text, text_pair=text_pair, label=label)
    read = partial(read, identifier=identifier, read_label=read_label)
    return FileSplits(files, read, TABLE_SUFFIXES, partial(read, needs_labels=False))
