"""Rows with named fields -> documents: what JSON lines, parquet files and Hugging Face streams have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_pipeline.corpora.prose import is_prose, tidy
from data_pipeline.corpora.reader import FileReader, paragraphs_of
from data_pipeline.records import Document, Dropped


@dataclass(frozen=True, slots=True)
class RowFields:
    """Which fields of a row say what.

    Attributes:
        text: The field of the text.
        title: The field of a title; rows may lack it.
        identifier: The field that tells rows apart; None where the place of a row does.
        prose_only: Keep lines that are running prose, and drop headings and list entries: for Wikipedia, whose plain
            text (`wikimedia/wikipedia`) still has them.
    """

    text: str = "text"
    title: str = "title"
    identifier: str | None = None
    prose_only: bool = False

    def required(self) -> list[str]:
        """Return the fields that every row must have."""
        return [name for name in (self.text, self.identifier) if name]

    def document(self, row: Mapping[str, Any], source: str, place: str) -> Document | Dropped:
        """Return the document of a row whose text is a string or None; `place` names it where no field does."""
        text = row[self.text] or ""
        if self.prose_only:
            paragraphs = [line for line in map(tidy, text.split("\n")) if is_prose(line)]
        else:
            paragraphs = paragraphs_of(text)
        if not paragraphs:
            return Dropped("no running text" if self.prose_only and text.strip() else "empty text")
        own = row[self.identifier] if self.identifier else None
        return Document(f"{source}/{place if own is None else own}", paragraphs, str(row.get(self.title) or ""))


class RowReader(FileReader):
    """Files of rows with named fields.

    Args:
        text_key: The field that holds the text.
        title_key: The field that holds a title, where there is one.
        id_key: The field that tells documents apart; None: the place of the row does.
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
