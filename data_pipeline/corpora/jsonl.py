"""JSON lines, plain or compressed (gz, bz2, zst): one document a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.corpora.reader import FileReader
from data_pipeline.corpora.rows import RowFields
from data_pipeline.records import Document, Dropped


class JsonLines(FileReader):
    """Documents out of one field of JSON objects.

    Args:
        text_key: The field that holds the text.
        title_key: The field that holds a title, where there is one.
        id_key: The field that tells documents apart; None: the number of the line does.
        prose_only: Drop headings and list entries, as for every text of Wikipedia.
        **reader: As for every `FileReader`.
    """

    def __init__(
        self,
        text_key: str = "text",
        title_key: str = "title",
        id_key: str | None = None,
        prose_only: bool = False,
        **reader: Any,
    ) -> None:
        super().__init__(**reader)
        self.fields = RowFields(text_key, title_key, id_key, prose_only)

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield the documents of a file, one line at a time."""
        label = self.label(file)
        with self.opened(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield self.fields.document(self._row(file, number, line), self.name, f"{label}/{number}")

    def _row(self, file: Path, number: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
            if not isinstance(row[self.fields.text], str | None):
                raise TypeError(f"it is {row[self.fields.text]!r:.40}")
            if self.fields.identifier:
                row[self.fields.identifier]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            needed = " and ".join(map(repr, self.fields.required()))
            raise ValueError(
                f"corpus {self.name}: {file}, line {number} has no text under {needed}: {error!r}"
            ) from error
        return row
