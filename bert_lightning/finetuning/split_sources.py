"""Where the examples of a task come from: one file for each split, or examples that are there already."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from bert_lightning.finetuning.task import TRAIN, VALIDATION
from bert_lightning.settings.config import is_first_process
from data_pipeline import rng
from data_pipeline.rng import Purpose
from data_pipeline.tasks.split_files import split_file
from data_pipeline.whole_numbers import number_of

log = logging.getLogger(__name__)
TEST = "test"


class PlacedRecord(Protocol):
    """An example that knows its file and line."""

    @property
    def where(self) -> str:
        """File and line."""


Record = TypeVar("Record", bound=PlacedRecord)


class Source(Protocol[Record]):
    """Something that has the examples of a task."""

    def splits(self) -> dict[str, list[Record]]:
        """Return the examples of every split that there is, by its name."""

    def naming(self, splits: dict[str, list[Record]]) -> list[Record]:
        """Return the examples whose labels are all that there are, unless the settings name them."""


@dataclass(frozen=True, slots=True)
class OneSplit(Generic[Record]):
    """Examples for a model that is trained already.

    Attributes:
        name: Name of the split; `VALIDATION` must have right answers.
        examples: The examples, at least one.
    """

    name: str
    examples: list[Record]

    def splits(self) -> dict[str, list[Record]]:
        """Return the one split."""
        return {self.name: self.examples}

    def naming(self, splits: dict[str, list[Record]]) -> list[Record]:
        """Return the examples."""
        return self.examples


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """One file for each split.

    Attributes:
        path: A folder in which the files are found by their names, or the training file itself.
        train: Training file, as a path from the folder; None finds it.
        validation: Validation file; None finds it.
        test: Test file; None finds it.
        validation_share: Share of the training examples that is held out if there is no validation file.
    """

    path: Path
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    validation_share: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))  # settings have text

    def file(self, split: str, suffixes: Sequence[str]) -> Path | None:
        """Return the file of a split, None if there is none.

        Args:
            split: Name of the split.
            suffixes: Endings of the files that are looked for.

        Raises:
            ValueError: if a named file does not exist, or several could be meant.
        """
        if not self.path.exists():
            raise ValueError(f"task.path={self.path} does not exist")
        folder = self.path if self.path.is_dir() else self.path.parent
        if (name := getattr(self, split)) is not None:
            if not (folder / name).is_file():
                raise ValueError(f"task.{split}={name} is no file in {folder}")
            return folder / name
        if self.path.is_file():
            return self.path if split == TRAIN else None
        try:
            return split_file(folder, split, suffixes)
        except ValueError as error:
            raise ValueError(f"{error}; task.{split} can name it") from error


@dataclass(frozen=True, slots=True)
class FileSplits(Generic[Record]):
    """The examples in the files of a task.

    Attributes:
        files: The files.
        read: Reader of a file.
        suffixes: Endings of the files that are looked for.
        read_test: Reader of the test file, whose labels may be missing; None for `read`.
        group: What examples have in common that are held out together if there is no validation file; None holds out
            one by one.
    """

    files: SplitFiles
    read: Callable[[Path], list[Record]]
    suffixes: Sequence[str]
    read_test: Callable[[Path], list[Record]] | None = None
    group: Callable[[Record], object] | None = None

    def splits(self) -> dict[str, list[Record]]:
        """Return the splits; examples to validate on are held out if no file holds any.

        Raises:
            ValueError: There is no training file, a named file does not exist, or the reader refuses one.
        """
        share, path = self.files.validation_share, self.files.path
        if not 0 < share < 1:
            raise ValueError(f"task.validation_share must be between 0 and 1; got {share}")
        files = {name: self.files.file(name, self.suffixes) for name in (TRAIN, VALIDATION, TEST)}
        if files[TRAIN] is None:
            raise ValueError(f"task.path={path} has no train file that ends in {', '.join(self.suffixes)}")
        readers = {TRAIN: self.read, VALIDATION: self.read, TEST: self.read_test or self.read}
        splits = {name: readers[name](file) for name, file in files.items() if file is not None}
        return splits if VALIDATION in splits else held_out(splits, share, self.group)

    def naming(self, splits: dict[str, list[Record]]) -> list[Record]:
        """Return the examples of the training file, also those that are held out of it."""
        has_validation_file = self.files.file(VALIDATION, self.suffixes) is not None
        return splits[TRAIN] if has_validation_file else [*splits[TRAIN], *splits[VALIDATION]]


def check_answers(splits: Mapping[str, Sequence[Record]], is_answered: Callable[[Record], bool], what: str) -> None:
    """Raise a ValueError with the first example to train or to validate on whose right answer is not known.

    Another split beside them has all right answers or none: one without them is predicted, and said not to be scored.

    Args:
        splits: The splits; each example has `where`.
        is_answered: Whether the right answer of an example is known.
        what: What a right answer is.
    """
    for split, purpose in ((TRAIN, "train"), (VALIDATION, "validate")):
        for example in splits.get(split, ()):
            if not is_answered(example):
                raise ValueError(f"{example.where} has no {what} to {purpose} on")
    for split in splits.keys() - {TRAIN, VALIDATION} if TRAIN in splits else ():
        unanswered = [example for example in splits[split] if not is_answered(example)]
        if 0 < len(unanswered) < len(splits[split]):
            raise ValueError(
                f"{unanswered[0].where} has no {what}, but other examples of the {split} split have one; all of them "
                "need one to be scored, or none has one"
            )
        if unanswered and is_first_process():
            log.info("%s has no %ss: it is predicted and not scored", split, what)


def held_out(
    splits: dict[str, list[Record]], share: float, group: Callable[[Record], object] | None = None
) -> dict[str, list[Record]]:
    """Return splits in which a share of the training examples, always the same ones, is the validation split.

    Args:
        splits: The splits, without one for validation.
        share: About what share of the examples is held out, if groups are larger than one example.
        group: What examples have in common that are in one split together; None divides them one by one.
    """
    train = splits[TRAIN]
    order = rng.permutation(rng.fold(0, Purpose.EXAMPLE_ORDER), len(train)).tolist()
    number = round(share * len(train))
    if not 0 < number < len(train):
        raise ValueError(
            f"task.validation_share={share} of {number_of(len(train), 'example')} leaves none to validate on, or "
            "none to train on"
        )
    keys: list[object] = list(range(len(train)) if group is None else map(group, train))
    sizes = Counter(keys)
    chosen: set[object] = set()
    for key in dict.fromkeys(keys[row] for row in order):
        if number <= 0:
            break
        chosen.add(key)
        number -= sizes[key]
    parts: dict[str, list[Record]] = {TRAIN: [], VALIDATION: []}
    for key, example in zip(keys, train, strict=True):
        parts[VALIDATION if key in chosen else TRAIN].append(example)
    if not parts[TRAIN]:
        raise ValueError(
            f"task.validation_share={share} leaves none of {number_of(len(sizes), 'text')} with examples to train on"
        )
    return splits | parts
