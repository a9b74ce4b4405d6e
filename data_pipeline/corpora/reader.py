"""What every reader is: a name, files, a licence, and a function from a file to documents."""

import glob
import gzip
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TextIO

from data_pipeline.records import Document, Dropped


class Reader(ABC):
    """A source of documents.

    Args:
        name: What the manifest calls the source.
        path: A file, a folder (all files below it), or a glob pattern.
        licence: Of the text.
        origin: Where the text comes from, for people.
        language: ISO 639-1 code, for sentence splitting.
    """

    def __init__(self, name: str, path: str | Path, licence: str, origin: str, language: str = "en") -> None:
        self.name = name
        self.path = str(path)
        self.licence = licence
        self.origin = origin
        self.language = language

    @property
    def sources(self) -> list["Reader"]:
        """The readers of a corpus; a reader is a corpus of itself alone."""
        return [self]

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

    def label(self, file: Path) -> str:
        """Return an input file's path from where `path` begins to vary: unique, the same wherever the corpus lies."""
        path = Path(self.path)
        if not path.is_dir():
            fixed = takewhile(lambda part: path.is_file() or not glob.has_magic(part), path.parts[:-1])
            path = Path(*fixed)
        return file.relative_to(path).as_posix()

    @abstractmethod
    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield the documents of a file, and a `Dropped` for everything left out.

        Raises:
            ValueError: naming the file, where it is not what the reader reads.
        """

    @contextmanager
    def opened(self, file: Path) -> Iterator[TextIO]:
        """Open a text file, plain or gzipped, past its byte-order mark; ValueError where it is cut or not UTF-8."""
        try:
            with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as content:
                yield io.TextIOWrapper(content, encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"corpus {self.name}: {file} is not UTF-8 text: {error}") from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"corpus {self.name}: {file} is not a whole gzip file: {error}") from error

    def text_of(self, file: Path) -> str:
        """Return the whole text of a file."""
        with self.opened(file) as lines:
            return lines.read()


class Mixture:
    """Several corpora as one, in the order given; what the manifest says of each is told apart by their names."""

    def __init__(self, **corpora: "Reader | Mixture") -> None:
        self.sources: list[Reader] = [reader for corpus in corpora.values() for reader in corpus.sources]
        names = [reader.name for reader in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"the sources of a mixture need different names, not {', '.join(names)}")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def paragraphs_of(text: str) -> list[str]:
    """Split running text at blank lines and join the lines of each paragraph."""
    blocks = (" ".join(block.split()) for block in text.replace("\r\n", "\n").split("\n\n"))
    return [block for block in blocks if block]
