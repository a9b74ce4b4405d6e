"""JSON lines, plain or compressed (gz, bz2, xz, zst): one document a line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.corpora.reader import Part
from data_pipeline.corpora.rows import RowReader
from data_pipeline.records import Document, Dropped


class JsonLines(RowReader):
    """Reader of one field of JSON objects; without `id_key`, documents are identified by byte offsets of lines."""

    entry = re.compile(rb"\n")

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a part, one line at a time."""
        label = self.label(Path(part.name))
        for offset, line in self.lines(part):
            if line.strip():
                yield self.fields.document(self._row(part, offset, line), self.name, f"{label}/{offset}")

    def _row(self, part: Part, offset: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
            if not isinstance(row[self.fields.text], str | None):
                raise TypeError(f"it is {row[self.fields.text]!r:.40}")
            if self.fields.identifier:
                row[self.fields.identifier]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            needed = " and ".join(map(repr, self.fields.required()))
            raise ValueError(
                f"corpus {self.name}: {self.where(part, offset)} has no text under {needed}: {error!r}"
            ) from error
        return row
