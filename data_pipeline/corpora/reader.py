"""The interface of readers: a source has a name and a license, and is cut into parts that tasks read independently."""

import glob
import lzma
import math
import re
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

from data_pipeline.corpora.bad_lines import BadLine, BadLines, TooManyBadLinesError, line_numbers
from data_pipeline.corpora.byte_ranges import compression_of, entry_offsets, open_range
from data_pipeline.corpora.content_hashes import sha256_of_files
from data_pipeline.corpora.line_ends import plain_line_ends
from data_pipeline.corpora.parts import Part, cut_at
from data_pipeline.corpora.recoding import as_utf8, check_encoding
from data_pipeline.corpora.source_files import corpus_for, find_files, kinds_of, pattern_for
from data_pipeline.corpora.temperature import repeats_of_sources
from data_pipeline.records import Document, Dropped
from data_pipeline.whole_numbers import check_whole_number

Item = Document | Dropped | BadLine
"""What a reader yields."""
LONGEST_LINE = 1 << 28
"""Most bytes of a line; more are a file without line feeds, which memory may not hold."""


class Reader(ABC):
    """A source of documents.

    Args:
        name: Name of the source in the manifest.
        licence: License of the text.
        origin: Where the text comes from, in words.
        language: ISO 639-1 code, for sentence splitting.
        weight: Times a document is in the training split: 2 is twice, 0.5 is half of the documents.
        max_bad_lines: Lines of the source, or pages of a dump, that may be unreadable; they are left out and counted.

    Attributes:
        links: Whether documents come with the links of their text.
    """

    links = False

    def __init__(
        self,
        name: str,
        licence: str,
        origin: str,
        language: str = "en",
        weight: float = 1.0,
        max_bad_lines: int = 0,
    ) -> None:
        check_whole_number("corpus.max_bad_lines", max_bad_lines, 0)
        if not (isinstance(weight, float | int) and 0 < weight < math.inf):
            raise ValueError(f"corpus {name}: weight must be a number above 0; got {weight!r}")
        if not (isinstance(language, str) and re.fullmatch("[a-z]{2,3}", language)):
            quotes = "; YAML reads no as false, so write 'no' with its quotes" if str(language) == "False" else ""
            raise ValueError(f"corpus {name}: language must be an ISO 639 code such as en; got {language!r}{quotes}")
        self.name = name
        self.licence = licence
        self.origin = origin
        self.language = language
        self.weight = float(weight)
        self.max_bad_lines = max_bad_lines

    @property
    def sources(self) -> list["Reader"]:
        """Readers of the corpus; a single reader is a corpus with one source."""
        return [self]

    @property
    def decisive(self) -> dict[str, Any]:
        """Settings that decide the documents of an input; where it lies and what is allowed do not."""
        unset = {name for name in ("encoding", "links") if not vars(self).get(name)}
        return {name: value for name, value in vars(self).items() if name not in {"path", "max_bad_lines"} | unset}

    def left_aside(self) -> Counter[str]:
        """Return numbers of files that the reader does not take, by kind."""
        return Counter()

    def num_bytes(self) -> int | None:
        """Return the size of the source, None if it is unknown."""
        return None

    @abstractmethod
    def content_sha256(self) -> str:
        """Return a hash that changes if any input of the reader changes."""

    @abstractmethod
    def parts(self, part_bytes: int) -> list[Part]:
        """Cut the source into parts, in order, that cover all of it; ValueError if the source is empty.

        Args:
            part_bytes: Size of a part; files whose format cannot be cut stay whole.
        """

    @abstractmethod
    def read_part(self, part: Part) -> Iterator[Item]:
        """Yield the documents of a part, a `Dropped` for every text left out, and a `BadLine` for every bad line.

        Raises:
            ValueError: The file is not in the format of the reader; the message names the file.
        """

    def line_numbers(self, file: str, offsets: Collection[int]) -> dict[int, int]:
        """Return the numbers of lines, from 1; none if the reader does not read lines.

        Args:
            file: The file.
            offsets: Offsets at which the lines begin, as in `BadLine`.
        """
        return {}


class FileReader(Reader):
    """A source that consists of files.

    Args:
        name: Name of the source in the manifest.
        path: A file, a folder (all files below it), or a glob pattern.
        licence: License of the text.
        origin: Where the text comes from, in words.
        encoding: Encoding of the text, for formats that do not say theirs; None is UTF-8. A file of another encoding
            is one task.
        **reader: Arguments of every `Reader`.

    Attributes:
        entry: Pattern after whose matches a task may begin to read an uncompressed file; None if files are read whole.
        file_names: Pattern found in the names of the files that a folder gives (`source_files`); None takes all.
    """

    entry: re.Pattern[bytes] | None = None
    file_names: re.Pattern[str] | None = None

    def __init__(
        self, name: str, path: str | Path, licence: str, origin: str, encoding: str | None = None, **reader: Any
    ) -> None:
        super().__init__(name, licence, origin, **reader)
        check_encoding(f"corpus {name}: encoding", encoding)
        self.path = str(path)
        self.encoding = encoding

    def files(self) -> list[Path]:
        """Return the input files in a fixed order; ValueError if there are none."""
        files, aside = find_files(self.path, self.file_names)
        if not files:
            kinds = kinds_of(aside)
            others = f" that this corpus reads; it has {', '.join(kinds)}" if aside else ""
            others += "".join(f"; corpus={name} reads {kind}" for kind in kinds if (name := corpus_for(kind)))
            pattern = pattern_for(self.path, aside)
            how = f"; a pattern such as path={pattern} takes files for their suffix" if pattern else ""
            raise ValueError(f"corpus {self.name}: path={self.path} names no file{others}{how}")
        return files

    def left_aside(self) -> Counter[str]:
        """Return numbers of files of the folder or pattern that the reader does not take, by kind."""
        return kinds_of(find_files(self.path, self.file_names)[1])

    def num_bytes(self) -> int:
        """Return the size of all files, as they are compressed."""
        return sum(file.stat().st_size for file in self.files())

    def content_sha256(self) -> str:
        """Return a hash of the names and contents of all files; it does not depend on the folder of the corpus."""
        return sha256_of_files({self.label(file): file for file in self.files()})

    def parts(self, part_bytes: int) -> list[Part]:
        """Return the parts of all files; files that can be cut give parts of `part_bytes` or slightly more."""
        return [part for file in self.files() for part in self.cut(file, part_bytes)]

    def cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        """Cut a file at offsets where reading may begin."""
        if self.entry is None or compression_of(file) or self.encoding is not None:
            return cut_at(file, ())
        return cut_at(file, entry_offsets(file, part_bytes, self.entry))

    def label(self, file: Path) -> str:
        """Return a unique name of an input file: its path below the fixed folders of `path`."""
        path = Path(self.path)
        if not path.is_dir():
            fixed = takewhile(lambda name: path.is_file() or not glob.has_magic(name), path.parts[:-1])
            path = Path(*fixed)
        return file.relative_to(path).as_posix()

    @contextmanager
    def opened(self, part: Part) -> Iterator[BinaryIO]:
        """Open a part of a plain, gz, bz2, xz or zst text file as UTF-8.

        Raises:
            ValueError: The file is truncated, or is not text of its encoding.
        """
        file = Path(part.name)
        try:
            with open_range(file, part.begin, part.end) as content:
                yield content if self.encoding is None else as_utf8(content, self.encoding)
        except UnicodeError as error:  # of a file that lacks the mark by which its encoding begins
            raise ValueError(f"corpus {self.name}: {file} is not {self.encoding} text: {error}") from error
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if not (compression := compression_of(file)) or not file.is_file():
                raise
            raise ValueError(f"corpus {self.name}: {file} is not a whole {compression} file: {error}") from error

    def lines(self, part: Part, bad: BadLines) -> Iterator[tuple[int, str]]:
        r"""Yield the byte offset of each line in the uncompressed text, and the line, without a byte-order mark.

        Lines end with \n, \r\n or \r. A line that is not UTF-8 is noted as bad.
        """
        for offset, line in self.raw_lines(part):
            try:
                text = line.decode("utf-8" if offset else "utf-8-sig")
            except UnicodeDecodeError as error:
                bad.add(offset, self.not_text(error))
            else:
                yield offset, text

    def raw_lines(self, part: Part) -> Iterator[tuple[int, bytes]]:
        """Yield what `lines` yields as bytes, with a byte-order mark; ValueError if a line has no end in sight."""
        offset = part.begin
        with self.opened(part) as content:
            for until_feed in iter(partial(content.readline, LONGEST_LINE + 1), b""):
                if len(until_feed) > LONGEST_LINE:
                    said = f"has no line end in the {LONGEST_LINE:,} bytes from byte {offset:,} on"
                    raise ValueError(f"corpus {self.name}: {part.name} {said}")
                for line in until_feed.splitlines(keepends=True):
                    yield offset, line
                    offset += len(line)

    def line_numbers(self, file: str, offsets: Collection[int]) -> dict[int, int]:
        """Return the numbers of lines; the file is read once, to the last of them."""
        return line_numbers((offset for offset, _ in self.raw_lines(Part(file, None))), offsets)

    def not_text(self, error: UnicodeDecodeError) -> str:
        """Return what is wrong with bytes that are no UTF-8, in words that follow their place."""
        if self.encoding is not None:
            return f"is not {self.encoding} text"
        return f"is not UTF-8 text: {error}; encoding names another encoding, such as utf-16 or cp1252"

    def with_bad_lines(self, part: Part, read: Callable[[BadLines], Iterator[Item]]) -> Iterator[Item]:
        """Yield the items of a part, and its bad lines, also if something else ends the reading."""
        bad = BadLines(self.max_bad_lines)
        ended: ValueError | None = None
        try:
            yield from read(bad)
        except ValueError as error:
            ended = error
        yield from (BadLine(part.name, offset, problem) for offset, problem in bad)
        if ended is not None and not isinstance(ended, TooManyBadLinesError):
            raise ended

    def text_of(self, part: Part) -> str:
        r"""Return the whole text of a part, without a byte-order mark; \r\n and \r become \n."""
        with self.opened(part) as content:
            whole = content.read()
        try:
            return whole.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            line = whole.count(b"\n", 0, error.start) + 1
            raise ValueError(f"corpus {self.name}: {part.name}, line {line} {self.not_text(error)}") from error


class Mixture:
    """Several corpora joined in the order given; the names of their sources must differ.

    Args:
        temperature: Number from 1 on by which small languages are repeated (`temperature`), on top of the
            weights of the sources; None repeats none.
        **corpora: The corpora, by any key.
    """

    def __init__(self, temperature: float | None = None, **corpora: "Reader | Mixture") -> None:
        self.sources: list[Reader] = [reader for corpus in corpora.values() for reader in corpus.sources]
        names = [reader.name for reader in self.sources]
        if not names:
            raise ValueError("a mixture needs a source, such as +corpus@corpus.books=books corpus.books.path=<path>")
        if len(set(names)) < len(names):
            said = f"got {', '.join(names)}; set corpus.<key>.name"
            raise ValueError(f"the sources of a mixture need different names; {said}")
        if temperature is not None:
            sizes = {reader.name: (reader.language, reader.num_bytes()) for reader in self.sources}
            factors = repeats_of_sources(sizes, temperature)
            for reader in self.sources:
                reader.weight *= factors[reader.name]


def paragraphs_of(text: str) -> list[str]:
    r"""Split running text at blank lines, which may hold white space; the lines of a paragraph have single spaces.

    >>> paragraphs_of("First\n  line.\n \nSecond.")
    ['First\nline.', 'Second.']
    """
    blocks = (block.split("\n") for block in re.split(r"\n\s*\n", plain_line_ends(text)))
    paragraphs = ("\n".join(line for line in (" ".join(line.split()) for line in block) if line) for block in blocks)
    return [paragraph for paragraph in paragraphs if paragraph]
