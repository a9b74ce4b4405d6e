"""What every reader is: a name, a licence, parts that tasks read alone, and a function from a part to documents."""

import glob
import io
import math
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

from data_pipeline.corpora.byte_ranges import COMPRESSED, open_range, places
from data_pipeline.corpora.content_hashes import sha256_of_files
from data_pipeline.records import Document, Dropped


@dataclass(frozen=True, slots=True)
class Part:
    """What one task can read alone: a file, a piece of one, or a shard of a stream.

    Attributes:
        name: Path of the file, or what else the reader finds it by.
        bytes: How large it is, None where that is not known; tasks are made of about as much each.
        begin: Where it begins, in a unit of the reader's own.
        end: Where it ends; None for the end of the file.
    """

    name: str
    bytes: int | None
    begin: int = 0
    end: int | None = None


class Reader(ABC):
    """A source of documents.

    Args:
        name: What the manifest calls the source.
        licence: Of the text.
        origin: Where the text comes from, for people.
        language: ISO 639-1 code, for sentence splitting.
        weight: How often a document is in the training split: 2 is twice, 0.5 is half of the documents.
    """

    def __init__(self, name: str, licence: str, origin: str, language: str = "en", weight: float = 1.0) -> None:
        if not (isinstance(weight, float | int) and 0 < weight < math.inf):
            raise ValueError(f"corpus {name}: weight must be a number above 0, not {weight!r}")
        if not re.fullmatch("[a-z]{2,3}", language):
            raise ValueError(f"corpus {name}: language must be an ISO 639 code such as en, not {language!r}")
        self.name = name
        self.licence = licence
        self.origin = origin
        self.language = language
        self.weight = float(weight)

    @property
    def sources(self) -> list["Reader"]:
        """The readers of a corpus; a reader is a corpus of itself alone."""
        return [self]

    @abstractmethod
    def content_sha256(self) -> str:
        """Return a hash that changes when anything that is read has changed."""

    @abstractmethod
    def parts(self, part_bytes: int) -> list[Part]:
        """Cut the source into parts, which together are all of it, in order; ValueError where there is nothing.

        Args:
            part_bytes: The size to cut to, where the format lets a file be cut at all.
        """

    @abstractmethod
    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a part, and a `Dropped` for everything left out.

        Raises:
            ValueError: naming the file, where it is not what the reader reads.
        """


class FileReader(Reader):
    """A source that lies in files.

    Args:
        name: What the manifest calls the source.
        path: A file, a folder (all files below it), or a glob pattern.
        licence: Of the text.
        origin: Where the text comes from, for people.
        **reader: As for every `Reader`.

    Attributes:
        entry: A task can begin to read an uncompressed file right after a match; None where files are read whole.
    """

    entry: re.Pattern[bytes] | None = None

    def __init__(self, name: str, path: str | Path, licence: str, origin: str, **reader: Any) -> None:
        super().__init__(name, licence, origin, **reader)
        self.path = str(path)

    def files(self) -> list[Path]:
        """Return the input files in a fixed order; ValueError where there are none."""
        path = Path(self.path)
        if path.is_dir():
            found = [file for file in path.rglob("*") if not _is_hidden(file.relative_to(path))]
        elif path.is_file():
            found = [path]
        else:
            found = [Path(match) for match in glob.glob(self.path, recursive=True)]
        files = sorted(file for file in found if file.is_file())
        if not files:
            raise ValueError(f"corpus {self.name}: path={self.path} names no file")
        return files

    def content_sha256(self) -> str:
        """Return a hash of the names and contents of all files, the same wherever the corpus lies."""
        return sha256_of_files({self.label(file): file for file in self.files()})

    def parts(self, part_bytes: int) -> list[Part]:
        """Return the files, those that can be entered in the middle in pieces of `part_bytes` or little more."""
        return [part for file in self.files() for part in self.cut(file, part_bytes)]

    def cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        """Cut a file at places where it can be entered."""
        if self.entry is None or file.suffix in COMPRESSED:
            return cut_at(file, ())
        return cut_at(file, places(file, part_bytes, self.entry))

    def label(self, file: Path) -> str:
        """Return an input file's path from where `path` begins to vary: unique, the same wherever the corpus lies."""
        path = Path(self.path)
        if not path.is_dir():
            fixed = takewhile(lambda part: path.is_file() or not glob.has_magic(part), path.parts[:-1])
            path = Path(*fixed)
        return file.relative_to(path).as_posix()

    @contextmanager
    def opened(self, part: Part) -> Iterator[BinaryIO]:
        """Open a part of a text file, plain, gz, bz2 or zst; ValueError where it is cut short or not UTF-8."""
        file = Path(part.name)
        try:
            with open_range(file, part.begin, part.end) as content:
                yield content
        except UnicodeDecodeError as error:
            raise ValueError(f"corpus {self.name}: {file} is not UTF-8 text: {error}") from error
        except (EOFError, zlib.error, OSError) as error:
            if file.suffix not in COMPRESSED or not file.is_file():
                raise
            raise ValueError(
                f"corpus {self.name}: {file} is not a whole {COMPRESSED[file.suffix]} file: {error}"
            ) from error

    def lines(self, part: Part) -> Iterator[tuple[int, str]]:
        """Yield at which byte of the uncompressed text each line begins, and the line, past a byte-order mark."""
        place = part.begin
        with self.opened(part) as content:
            for line in content:
                yield place, line.decode("utf-8" if place else "utf-8-sig")
                place += len(line)

    def where(self, part: Part, place: int) -> str:
        """Say for people where byte `place` of the uncompressed text is: the file and the number of the line."""
        before = takewhile(lambda line: line[0] <= place, self.lines(Part(part.name, None)))
        return f"{part.name}, line {sum(1 for _ in before)}"

    def text_of(self, part: Part) -> str:
        """Return the whole text of a part, past a byte-order mark."""
        with self.opened(part) as content:
            return io.TextIOWrapper(content, encoding="utf-8-sig").read()


class Mixture:
    """Several corpora as one, in the order given; what the manifest says of each is told apart by their names."""

    def __init__(self, **corpora: "Reader | Mixture") -> None:
        self.sources: list[Reader] = [reader for corpus in corpora.values() for reader in corpus.sources]
        names = [reader.name for reader in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"the sources of a mixture need different names, not {', '.join(names)}")


def cut_at(file: Path, entries: Iterable[int]) -> Iterator[Part]:
    """Cut a file at given bytes, in order."""
    size, begin = file.stat().st_size, 0
    for place in entries:
        if place < size:
            yield Part(str(file), place - begin, begin, place)
            begin = place
    yield Part(str(file), size - begin, begin)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def paragraphs_of(text: str) -> list[str]:
    r"""Split running text at blank lines, with or without white space in them, and join the lines of each paragraph.

    >>> paragraphs_of("First\nline.\n \nSecond.")
    ['First line.', 'Second.']
    """
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text))
    return [block for block in blocks if block]
