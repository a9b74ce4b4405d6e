"""Input format of google-research/bert: one sentence a line, a blank line between documents."""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from data_pipeline.corpora.reader import FileReader, Part
from data_pipeline.records import Document, Dropped


class TextLines(FileReader):
    """Reader of documents with split sentences; a document is identified by the byte offset at which it begins."""

    entry = re.compile(rb"\n[ \t\r]*\n")

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a part, one line at a time."""
        label = self.label(Path(part.name))
        split = ((offset, piece) for offset, line in self.lines(part) for piece in line.splitlines())
        stripped = ((offset, piece.strip()) for offset, piece in split)
        for has_text, block in groupby(stripped, key=lambda line: bool(line[1])):
            if has_text:
                (first, *_), sentences = zip(*block, strict=True)
                yield Document(f"{self.name}/{label}/{first}", list(sentences), presplit=True)
