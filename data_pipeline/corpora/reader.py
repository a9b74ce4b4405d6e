"""What every reader is: a name, files, a licence, and a function from a file to documents."""

import glob
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

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
            found = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
        else:
            found = [Path(match) for match in glob.glob(self.path, recursive=True) if Path(match).is_file()]
        if not found:
            raise ValueError(f"corpus {self.name}: path={self.path} names no file")
        return sorted(found)

    @abstractmethod
    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield the documents of a file, and a `Dropped` for everything left out.

        Raises:
            ValueError: naming the file, where it is not what the reader reads.
        """

    def text_of(self, file: Path) -> str:
        """Return a text file's content without a byte-order mark; ValueError where it is not UTF-8."""
        try:
            return file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"corpus {self.name}: {file} is not UTF-8 text: {error}") from error


class Mixture:
    """Several sources as one corpus, in the order given."""

    def __init__(self, **sources: Reader) -> None:
        self.sources = list(sources.values())


def paragraphs_of(text: str) -> list[str]:
    """Split running text at blank lines and join the lines of each paragraph."""
    blocks = (" ".join(block.split()) for block in text.replace("\r\n", "\n").split("\n\n"))
    return [block for block in blocks if block]
