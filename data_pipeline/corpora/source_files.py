"""Which files of a folder or pattern a reader takes, and which it leaves aside, counted."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from data_pipeline.corpora.byte_ranges import compression_of

BAD_INPUT = ".bad-input.txt"
"""End of the name of a list of bad input, which bert-prepare writes."""
FILE_NAMES = {
    "books": re.compile(r"^[^.]+$|\.(txt|text)$", re.IGNORECASE),
    "csv": re.compile(r"\.(csv|tsv|tab)$", re.IGNORECASE),
    "jsonl": re.compile(r"\.(jsonl|jsonlines|ndjson|json)$", re.IGNORECASE),
    "parquet": re.compile(r"\.(parquet|pq)$", re.IGNORECASE),
}
"""What is found in the names of files that a corpus reads, for formats that a suffix tells."""
_PREPARED = ("manifest.json", "tokenizer/tokenizer.json")
"""Files of every prepared folder."""
_ABOUT_OTHERS = re.compile(
    r"_.*|(readme|licen[cs]e|copying|changelog|notice|checksums?|(md5|sha\d+)sums?)(\.(txt|md|rst|html))?"
    rf"|.*\.(crc|md5|sha\d+)|.*{re.escape(BAD_INPUT)}",
    re.IGNORECASE,
)
"""Names of files about other files, such as the _SUCCESS of Spark."""


def plain_name(file: Path) -> str:
    """Return the name of a file without the suffix of its compression.

    >>> plain_name(Path("a/wiki_00.bz2"))
    'wiki_00'
    """
    return file.stem if compression_of(file) else file.name


def find_files(path: str, names: re.Pattern[str] | None) -> tuple[list[Path], list[Path]]:
    """Return the files to read and those left aside, each in a fixed order.

    A folder gives the files below it whose names fit the format, a pattern the files that it matches; both leave out
    files about other files, unless a pattern matches no others. A file that is named itself is read. Prepared folders
    and folders that may not be opened are left aside as a whole.

    Args:
        path: A file, a folder, or a glob pattern.
        names: Pattern found in the names of files of the format, without the suffix of a compression; None fits all.

    Raises:
        ValueError: naming a file to read that is a link to nothing.
    """
    folder = Path(path)
    closed: list[Path] = []
    if folder.is_file():
        return [folder], []
    if folder.is_dir():
        files = sorted(filter(_is_file, _below(folder, closed)))
        taken = [file for file in files if _fits(file, names)]
    else:
        files = sorted(filter(_is_file, map(Path, glob.glob(path, recursive=True))))
        taken = [file for file in files if _fits(file, None)] or files
    prepared = _prepared_folders(files, folder)
    taken = [file for file in taken if prepared.isdisjoint(file.parents)]
    others = {file for file in files if prepared.isdisjoint(file.parents)} - set(taken)
    for file in taken:
        if not file.exists():
            raise ValueError(f"corpus.path={path} has {file}, a link to {os.readlink(file)}, which does not exist")
    return taken, sorted([*others, *prepared, *closed])


def pattern_for(path: str, aside: Sequence[Path]) -> str | None:
    """Return a pattern that finds the first files of a folder that were left aside for their suffix, None for none.

    Args:
        path: The folder.
        aside: What was left aside.
    """
    suffix = next((file.suffix for file in aside if file.suffix and file.is_file() and _fits(file, None)), None)
    return str(Path(glob.escape(path), "**", f"*{suffix}")) if suffix else None


def kinds_of(files: Sequence[Path]) -> Counter[str]:
    """Return numbers of files by kind: by suffix, or by name if the file is about others or has no suffix.

    >>> kinds_of([Path("a.html"), Path("b.html"), Path("_SUCCESS")])
    Counter({'*.html': 2, '_SUCCESS': 1})
    """
    return Counter(
        f"*{file.suffix}" if file.suffix and not _ABOUT_OTHERS.fullmatch(file.name) else file.name for file in files
    )


def corpus_for(kind: str) -> str | None:
    """Return the corpus that reads files of a kind of `kinds_of`, None if the kind tells none.

    >>> corpus_for("*.csv"), corpus_for("*.html"), corpus_for("LICENSE")
    ('csv', None, None)
    """
    named = (name for name, pattern in FILE_NAMES.items() if kind.startswith("*.") and pattern.search(kind))
    return next(named, None)


def _prepared_folders(files: Iterable[Path], path: Path) -> set[Path]:
    """Return the folders of files that bert-prepare wrote, from the last folder on that a path or pattern names."""
    top = Path(*takewhile(lambda name: not glob.has_magic(name), path.parts)) if not path.is_dir() else path
    near = {file.parent for file in files}
    folders = {folder for parent in near for folder in (parent, *parent.parents) if folder.is_relative_to(top)}
    return {folder for folder in folders if all((folder / name).is_file() for name in _PREPARED)}


def _fits(file: Path, names: re.Pattern[str] | None) -> bool:
    name = plain_name(file)
    return not _ABOUT_OTHERS.fullmatch(name) and (names is None or names.search(name) is not None)


def _is_file(path: Path) -> bool:
    """Return whether a path is a file or a link to nothing."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _below(folder: Path, closed: list[Path]) -> Iterator[Path]:
    """Yield what is below a folder and below the folders that links lead to, without hidden names.

    Each folder is entered once, and none that `folder` is in. Those that may not be opened are added to `closed`.
    """
    seen = set(map(str, Path(os.path.realpath(folder)).parents))
    starts = [folder]
    for start in starts:
        for place, folders, names in os.walk(start, onerror=lambda error: closed.append(Path(error.filename))):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
                continue
            seen.add(real)
            parent = Path(place)
            starts += [parent / name for name in folders if (parent / name).is_symlink()]
            yield from (parent / name for name in names if not name.startswith("."))
