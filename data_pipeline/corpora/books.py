"""Folders of books, one plain text file each, without headings, captions, and Project Gutenberg's header and footer."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, filterfalse, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from data_pipeline.corpora.front_matter import is_byline, is_contents, is_price_list, without_title_page
from data_pipeline.corpora.line_ends import plain_line_ends
from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import FileReader, paragraphs_of
from data_pipeline.corpora.source_files import FILE_NAMES
from data_pipeline.records import Document, Dropped

_START = re.compile(r"^\s*\*\*\*\s*START OF (THE|THIS) PROJECT GUTENBERG.*$", re.MULTILINE | re.IGNORECASE)
_END = re.compile(
    r"^\s*(\*\*\*\s*END OF (THE|THIS) PROJECT GUTENBERG|End of (the )?Project Gutenberg).*$",
    re.MULTILINE | re.IGNORECASE,
)
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_UNITS = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_ORDINALS = "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last"
_NUMBER = rf"([ivxlcdm]+|\d+|({_TENS})([- ]({_UNITS}))?|{_TEENS}|{_UNITS}|(the )?({_ORDINALS}))"
_DIVISION = rf"\s*(?-i:(?=[A-Z]))(chapter|book|part|volume|vol\.|letter|stave|act|scene|canto)\s+{_NUMBER}\b"
_IN_CAPITALS = r"(?-i:[A-Z][A-Z ,.'\u2019-]{2,60})"
_NUMBERED = re.compile(rf"{_DIVISION}\s*([.:\]\u2014\u2013-][^\"]{{0,60}}|{_IN_CAPITALS})?", re.IGNORECASE)
_TITLED = re.compile(rf"{_DIVISION}\W[^\"]{{0,60}}", re.IGNORECASE)
_BARE = re.compile(r"\s*((?-i:[IVXLC]+)\.?|contents|(the )?end|finis)\.?\s*", re.IGNORECASE)
_CAPTION = re.compile(r"\[Illustration[^\]]*\]", re.IGNORECASE)
_CONTENTS = re.compile(r"\s*contents\.?\s*", re.IGNORECASE)
_NO_BOOK = re.compile(r"\s*(?:(<doc id=)|(<\?xml|<mediawiki|<!doctype|<html|<tei)|(\{\s*\"))", re.IGNORECASE)
_NO_BOOK_IS = ("an article of WikiExtractor; corpus=wikipedia_extracted reads it", "XML or HTML", "JSON")
_EMPHASIS = re.compile(r"_(?<!\w_)([^_]+)_(?!\w)")


class Books(FileReader):
    """Reader that makes one document of every book, or one of every chapter; a file may hold several books.

    A heading is a line by itself: "CHAPTER IV. The Letter", "Book the First", or "XII." below a blank line. A heading
    ends a paragraph and is dropped. So are title page and contents, a byline, entries of a list of prices,
    `[Illustration ...]`, and the underscores that mark italics in Project Gutenberg's texts.

    Args:
        name: Name of the source in the manifest.
        path: A file, a folder (all files below it), or a glob pattern.
        licence: License of the text.
        origin: Where the text comes from, in words.
        chapters: True makes a document of every chapter, False of every book.
        **reader: Arguments of every `FileReader`.
    """

    file_names = FILE_NAMES["books"]

    def __init__(
        self, name: str, path: str | Path, licence: str, origin: str, chapters: bool = False, **reader: Any
    ) -> None:
        super().__init__(name, path, licence, origin, **reader)
        self.chapters = chapters

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the book in a file, or all books that have a header of Project Gutenberg."""
        file = Path(part.name)
        text = self.text_of(part)
        if no_book := _NO_BOOK.match(text):
            raise ValueError(f"corpus {self.name}: {file} is no book but {_NO_BOOK_IS[(no_book.lastindex or 1) - 1]}")
        removed = Counter[str]()
        books = [[chapter for chapter in _chapters(body, removed) if chapter] for body in _bodies(text)]
        chapters = list(chain(*books))
        texts = chapters if self.chapters else [list(chain(*book)) for book in books if book]
        if not texts:
            yield Dropped("empty file")
        for number, paragraphs in enumerate(texts, 1):
            is_alone = len(texts) == 1 and not self.chapters
            name, title = ("", "") if is_alone else (f"/{number}", f", {number}")
            counts = +removed if number == 1 else {}
            yield Document(f"{self.name}/{self.label(file)}{name}", paragraphs, f"{file.stem}{title}", removed=counts)


def _bodies(text: str) -> Iterator[str]:
    r"""Yield the text between each pair of Project Gutenberg's markers; one may lack at the begin or the end.

    >>> marked = "*** START OF THE PROJECT GUTENBERG EBOOK ***\n{}\n*** END OF THE PROJECT GUTENBERG EBOOK ***\n"
    >>> list(_bodies("License.\n" + marked.format("One.") + marked.format("Two.")))
    ['\nOne.\n', '\nTwo.\n']
    """
    start = _START.search(text)
    begin = start.end() if start else 0
    while True:
        end = _END.search(text, begin)
        yield text[begin : end.start() if end else None]
        if end is None or (start := _START.search(text, end.end())) is None:
            return
        begin = start.end()


def _chapters(text: str, removed: Counter[str]) -> Iterator[list[str]]:
    """Yield the paragraphs of each chapter, without what is no text, which is counted."""
    blocks = list(_split(text))
    for number, (heading, lines) in enumerate(blocks):
        if heading and _CONTENTS.fullmatch(heading) and number + 1 < len(blocks) and is_contents(lines):
            removed["line of contents"] += sum(1 for line in lines if line.strip())
            continue
        paragraphs = _clean("\n".join(lines))
        kept = paragraphs
        if not number and not heading and len(blocks) > 1:
            kept = without_title_page(paragraphs, len(text))
        elif not number or number == 1:
            kept = [*filterfalse(is_byline, paragraphs[:2]), *paragraphs[2:]]
        removed["paragraph of a title page"] += len(paragraphs) - len(kept)
        prose = [paragraph for paragraph in kept if not is_price_list(paragraph)]
        removed["entry of a list of prices"] += len(kept) - len(prose)
        yield prose


def _split(text: str) -> Iterator[tuple[str, list[str]]]:
    r"""Yield the last heading before each run of lines, "" if there is none, and the lines.

    >>> list(_split("CHAPTER I.\nIt was.\n\nII\nPart of it is so."))
    [('CHAPTER I.', ['It was.', '']), ('II', ['Part of it is so.'])]
    """
    lines = plain_line_ends(text).split("\n")
    heading = ""
    for is_heading, block in groupby(zip(lines, _headings(lines), strict=True), key=itemgetter(1)):
        in_block = [line for line, _ in block]
        if is_heading:
            heading = in_block[-1]
        else:
            yield heading, in_block


def _headings(lines: Sequence[str]) -> Iterator[bool]:
    """Yield for each line whether it is a heading; a line that could be prose counts only if it stands apart."""
    stands_apart = True  # below a blank line or another heading
    ends = True  # below the end of a sentence
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        is_titled = stands_apart and not below.strip() and _TITLED.fullmatch(line)
        is_bare = (stands_apart or (ends and line.strip(" .") != "I")) and _BARE.fullmatch(line)
        yield (is_heading := bool(_NUMBERED.fullmatch(line) or is_titled or is_bare))
        stands_apart, ends = is_heading or not line.strip(), line.rstrip(" '\"\u201d\u2019").endswith((".", "!", "?"))


def _clean(text: str) -> list[str]:
    paragraphs = paragraphs_of(_EMPHASIS.sub(r"\1", _CAPTION.sub("", text)))
    return [paragraph.replace("\n", " ") for paragraph in paragraphs if any(map(str.isalnum, paragraph))]
