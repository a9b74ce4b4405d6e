"""Folders of books, one plain text file each; Project Gutenberg's header and footer are cut off."""

import re
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.corpora.reader import Reader, paragraphs_of
from data_pipeline.records import Document, Dropped

_START = re.compile(r"^\s*\*\*\*\s*START OF (THE|THIS) PROJECT GUTENBERG.*$", re.MULTILINE | re.IGNORECASE)
_END = re.compile(r"^\s*\*\*\*\s*END OF (THE|THIS) PROJECT GUTENBERG.*$", re.MULTILINE | re.IGNORECASE)


class Books(Reader):
    """Every file of a folder as one document."""

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield the book in a file."""
        text = self.text_of(file)
        if start := _START.search(text):
            text = text[start.end() :]
        if end := _END.search(text):
            text = text[: end.start()]
        paragraphs = paragraphs_of(text)
        if paragraphs:
            yield Document(f"{self.name}/{self.label(file)}", paragraphs, file.stem)
        else:
            yield Dropped("empty file")
