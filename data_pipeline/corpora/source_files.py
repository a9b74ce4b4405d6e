"""Which files of a folder or pattern a reader takes, and which it leaves aside, counted."""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from data_pipeline.corpora.byte_ranges import COMPRESSED

BAD_INPUT = ".bad-input.txt"
"""End of the name of a list of bad input, which bert-prepare writes."""
_PREPARED = ("manifest.json", "tokenizer/tokenizer.json")
"""Files of every prepared folder."""
_ABOUT_OTHERS = re.compile(
    r"_.*|(readme|licen[cs]e|copying|changelog|notice|checksums?|(md5|sha\d+)sums?)(\.(txt|md|rst|html))?"
    rf"|.*\.(crc|md5|sha\d+|md)|.*{re.escape(BAD_INPUT)}",
    re.IGNORECASE,
)
"""Names of files about other files, such as the _SUCCESS of Spark."""


def plain_name(file: Path) -> str:
    """Return the name of a file without the suffix of its compression.

    >>> plain_name(Path("a/wiki_00.bz2"))
    'wiki_00'
    """
    return file.stem if file.suffix in COMPRESSED else file.name


def find_files(path: str, names: re.Pattern[str] | None) -> tuple[list[Path], list[Path]]:
    """Return the files to read and those left aside, each in a fixed order.

    A folder gives the files below it whose names fit the format, a pattern the files that it matches; both leave out
    files about other files, and prepared folders. A file that is named itself is read.

    Args:
        path: A file, a folder, or a glob pattern.
        names: Pattern found in the names of files of the format, without the suffix of a compression; None fits all.
    """
    folder = Path(path)
    if folder.is_file():
        return [folder], []
    if folder.is_dir():
        found = [file for file in folder.rglob("*") if not _is_hidden(file.relative_to(folder))]
    else:
        found, names = [Path(match) for match in glob.glob(path, recursive=True)], None
    files = sorted(file for file in found if file.is_file())
    prepared = _prepared_folders(files, folder)
    taken = [file for file in files if _fits(file, names) and prepared.isdisjoint(file.parents)]
    return taken, sorted(set(files) - set(taken))


def kinds_of(files: Sequence[Path]) -> Counter[str]:
    """Return numbers of files by kind: by suffix, or by name if the file is about others or has no suffix.

    >>> kinds_of([Path("a.html"), Path("b.html"), Path("_SUCCESS")])
    Counter({'*.html': 2, '_SUCCESS': 1})
    """
    return Counter(
        f"*{file.suffix}" if file.suffix and not _ABOUT_OTHERS.fullmatch(file.name) else file.name for file in files
    )


def _prepared_folders(files: Iterable[Path], path: Path) -> set[Path]:
    """Return the folders of files that bert-prepare wrote, from the last folder on that a path or pattern names."""
    top = Path(*takewhile(lambda name: not glob.has_magic(name), path.parts)) if not path.is_dir() else path
    near = {file.parent for file in files}
    folders = {folder for parent in near for folder in (parent, *parent.parents) if folder.is_relative_to(top)}
    return {folder for folder in folders if all((folder / name).is_file() for name in _PREPARED)}


def _fits(file: Path, names: re.Pattern[str] | None) -> bool:
    name = plain_name(file)
    return not _ABOUT_OTHERS.fullmatch(name) and (names is None or names.search(name) is not None)


def _is_hidden(path: Path) -> bool:
    return any(name.startswith(".") for name in path.parts)
