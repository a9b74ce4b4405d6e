"""JSON lines, plain or gzipped: one document a line."""

import json
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.corpora.reader import Reader, paragraphs_of
from data_pipeline.records import Document, Dropped


class JsonLines(Reader):
    """Documents out of one field of JSON objects.

    Args:
        text_key: The field that holds the text.
        title_key: The field that holds a title, where there is one.
        **reader: As for every `Reader`.
    """

    def __init__(self, text_key: str = "text", title_key: str = "title", **reader: str) -> None:
        super().__init__(**reader)
        self.text_key = text_key
        self.title_key = title_key

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield the documents of a file, one line at a time."""
        with self.opened(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield self._document(file, number, line)

    def _document(self, file: Path, number: int, line: str) -> Document | Dropped:
        try:
            content = json.loads(line)
            text = content[self.text_key]
            if not isinstance(text, str):
                raise TypeError(f"it is {text!r:.40}")
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"corpus {self.name}: {file}, line {number} has no text under {self.text_key!r}: {error!r}"
            ) from error
        paragraphs = paragraphs_of(text)
        if not paragraphs:
            return Dropped("empty text")
        return Document(f"{self.name}/{self.label(file)}/{number}", paragraphs, str(content.get(self.title_key) or ""))
