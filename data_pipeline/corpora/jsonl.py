"""JSON lines, plain or compressed (gz, bz2, xz, zst): one document a line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.corpora.bad_lines import BadLines
from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import Item
from data_pipeline.corpora.rows import RowReader
from data_pipeline.corpora.source_files import FILE_NAMES
from data_pipeline.untrusted.typed_fields import listed


class JsonLines(RowReader):
    """Reader of one field of JSON objects; without `id_key`, documents are identified by byte offsets of lines."""

    entry = re.compile(rb"\n")
    file_names = FILE_NAMES["jsonl"]

    def read_part(self, part: Part) -> Iterator[Item]:
        """Yield the documents of a part, one line at a time."""
        return self.with_bad_lines(part, lambda bad: self._documents(part, bad))

    def _documents(self, part: Part, bad: BadLines) -> Iterator[Item]:
        label = self.label(Path(part.name))
        for offset, line in self.lines(part, bad):
            if line.strip() and (row := self._row(offset, line, bad)) is not None:
                yield self.fields.document(row, self.name, f"{label}/{offset}")

    def _row(self, offset: int, line: str, bad: BadLines) -> dict[str, Any] | None:
        """Return the row of a line, None if it is noted as bad."""
        try:
            row: dict[str, Any] = json.loads(line)
            if not isinstance(row[self.fields.text], str | None):
                raise TypeError(f"it is {row[self.fields.text]!r:.40}")
            if self.fields.identifier:
                row[self.fields.identifier]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            needed = " and ".join(f"{field!r} ({setting})" for setting, field in self.fields.required().items())
            said = f"it has {listed(map(str, row))}" if isinstance(error, KeyError) else repr(error)
            bad.add(offset, f"has no text under {needed}: {said}")
            return None
        return row
