"""The splits of a task that has one file for each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bert_lightning.finetuning.task import TRAIN, VALIDATION
from bert_lightning.finetuning.text_sources import held_out
from data_pipeline.tasks.split_files import split_file

TEST = "test"
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """One file for each split.

    Attributes:
        path: A folder in which the files are found by their names, or the training file itself.
        named: File of a split by its name, as a path from the folder; None finds it.
        validation_share: Share of the training examples that is held out if there is no validation file.
    """

    path: Path
    named: Mapping[str, str | None]
    validation_share: float

    def read(self, read: Callable[[Path], list[Record]], suffixes: Sequence[str]) -> dict[str, list[Record]]:
        """Return the examples of every split that there is.

        Args:
            read: Reader of a file.
            suffixes: Endings of the files that are looked for.

        Raises:
            ValueError: There is no training file, a named file does not exist, or the reader refuses one.
        """
        if not 0 < self.validation_share < 1:
            raise ValueError(f"task.validation_share must be between 0 and 1; got {self.validation_share}")
        files = {name: self._file(name, suffixes) for name in (TRAIN, VALIDATION, TEST)}
        if files[TRAIN] is None:
            raise ValueError(f"task.path={self.path} has no train file that ends in {', '.join(suffixes)}")
        splits = {name: read(file) for name, file in files.items() if file is not None}
        return splits if VALIDATION in splits else held_out(splits, self.validation_share)

    def _file(self, split: str, suffixes: Sequence[str]) -> Path | None:
        if not self.path.exists():
            raise ValueError(f"task.path={self.path} does not exist")
        folder = self.path if self.path.is_dir() else self.path.parent
        if (name := self.named.get(split)) is not None:
            if not (folder / name).is_file():
                raise ValueError(f"task.{split}={name} is no file in {folder}")
            return folder / name
        if self.path.is_file():
            return self.path if split == TRAIN else None
        try:
            return split_file(folder, split, suffixes)
        except ValueError as error:
            raise ValueError(f"{error}; task.{split} can name it") from error
