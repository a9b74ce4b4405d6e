"""JSON lines, plain or compressed (gz, bz2, zst): one document a line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.corpora.reader import Part
from data_pipeline.corpora.rows import RowReader
from data_pipeline.records import Document, Dropped


class JsonLines(RowReader):
    """Documents out of one field of JSON objects; without `id_key` the byte at which a line begins tells them apart."""

    entry = re.compile(rb"\n")

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a part, one line at a time."""
        label = self.label(Path(part.name))
        for place, line in self.lines(part):
            if line.strip():
                yield self.fields.document(self._row(part, place, line), self.name, f"{label}/{place}")

    def _row(self, part: Part, place: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
            if not isinstance(row[self.fields.text], str | None):
                raise TypeError(f"it is {row[self.fields.text]!r:.40}")
            if self.fields.identifier:
                row[self.fields.identifier]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            needed = " and ".join(map(repr, self.fields.required()))
            raise ValueError(
                f"corpus {self.name}: {self.where(part, place)} has no text under {needed}: {error!r}"
            ) from error
        return row
