"""google-research/bert's input format: one sentence a line, a blank line between documents."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from data_pipeline.corpora.reader import FileReader
from data_pipeline.records import Document, Dropped


class TextLines(FileReader):
    """Documents whose sentences are already split."""

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield the documents of a file, one line at a time."""
        with self.opened(file) as lines:
            stripped = (line.strip() for line in lines)
            blocks = (list(block) for has_text, block in groupby(stripped, key=bool) if has_text)
            for number, sentences in enumerate(blocks):
                yield Document(f"{self.name}/{self.label(file)}/{number}", sentences, presplit=True)
