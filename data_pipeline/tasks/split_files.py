"""Which file of a folder holds the training split of a task, and which hold validation and test."""

import re
from collections.abc import Sequence
from pathlib import Path

_NAMES = {"train": {"train", "training"}, "validation": {"validation", "valid", "val", "dev"}, "test": {"test"}}


def split_file(folder: Path, split: str, suffixes: Sequence[str]) -> Path | None:
    """Return the file of a split, None if there is none.

    A file named exactly as the split (dev.tsv) comes before one with it as a word in its name (dev-v1.1.json).

    Args:
        folder: The folder.
        split: train, validation (also valid, val and dev in the names of files) or test.
        suffixes: Endings of the files that can be read.

    Raises:
        ValueError: Two files are equally good, or the folder is no folder.
    """
    if not folder.is_dir():
        raise ValueError(f"task.path={folder} is not a folder")
    names = _NAMES[split]
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in suffixes)
    exact = [file for file in files if file.stem.lower() in names]
    chosen = exact or [file for file in files if names & set(re.split("[^a-z]+", file.stem.lower()))]
    if len(chosen) > 1:
        raise ValueError(
            f"task.path={folder} has {' and '.join(file.name for file in chosen)}: only one may be the {split} split"
        )
    return chosen[0] if chosen else None
