"""Documents from rows with named fields, for JSON lines, parquet files and Hugging Face streams."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from data_pipeline.corpora.line_ends import plain_line_ends
from data_pipeline.corpora.prose import is_prose, tidy
from data_pipeline.corpora.reader import FileReader, paragraphs_of
from data_pipeline.records import Document, Dropped
from data_pipeline.untrusted.typed_fields import listed, shown


@dataclass(frozen=True, slots=True)
class RowFields:
    """Names of the fields of a row.

    Attributes:
        text: Field of the text.
        title: Field of the title; rows may lack it.
        identifier: Field that identifies a row; None identifies a row by its position, as an empty value does.
        prose_only: True keeps lines of running prose and drops headings and list entries, which the plain text of
            Wikipedia (`wikimedia/wikipedia`) still has.
        sentence_per_line: True makes a sentence of every line, as in notes, lists and transcripts.
    """

    text: str = "text"
    title: str = "title"
    identifier: str | None = None
    prose_only: bool = False
    sentence_per_line: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", column_name("corpus.text_key", self.text))
        for field, setting in (("title", "title_key"), ("identifier", "id_key")):
            if (name := getattr(self, field)) is not None:
                object.__setattr__(self, field, column_name(f"corpus.{setting}", name))

    def required(self) -> dict[str, str]:
        """Return the fields that every row must have, by the setting that names each; that of the text is the first."""
        return {"text_key": self.text, **({"id_key": self.identifier} if self.identifier else {})}

    def used(self, present: Collection[str]) -> dict[str, str]:
        """Return the fields to read of those that rows have, by the setting that names each, the required ones too."""
        return {**self.required(), **({"title_key": self.title} if self.title in present else {})}

    def document(self, row: Mapping[str, Any], source: str, position: str) -> Document | Dropped:
        """Return the document of a row whose text is a string or None.

        Args:
            row: Values by field name.
            source: Name of the source, the first component of the identifier.
            position: Second component of the identifier if no field identifies the row.
        """
        text = row[self.text] or ""
        if self.prose_only:
            paragraphs = [line for line in map(tidy, plain_line_ends(text).split("\n")) if is_prose(line)]
        elif self.sentence_per_line:
            paragraphs = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
        else:
            paragraphs = paragraphs_of(text)
        if not paragraphs:
            return Dropped("no running text" if self.prose_only and text.strip() else "empty text")
        identifier = row[self.identifier] if self.identifier else None
        name = f"{source}/{position if identifier in (None, '') else identifier}"
        return Document(name, paragraphs, str(row.get(self.title) or ""), self.sentence_per_line)


def check_columns(source: str, where: object, needed: Mapping[str, str], present: Iterable[str]) -> None:
    """Raise a ValueError that names the first setting whose column is absent or doubled, and the columns there are.

    Args:
        source: Name of the source.
        where: The file or the data set.
        needed: Columns by the setting that names each.
        present: The columns.
    """
    columns = list(present)
    for setting, column in needed.items():
        if (number := columns.count(column)) != 1:
            has = f"{number} columns" if number else "no column"
            said = f"{setting}={column}, but {where} has {has} {shown(column)}; it has {listed(columns)}"
            raise ValueError(f"corpus {source}: {said}")


def column_name(setting: str, name: object) -> str:
    """Return the name of a column as text, for a name such as 0 or 2024 is a number in YAML and on command lines.

    Raises:
        ValueError: naming the setting, if it is neither text nor a whole number.
    """
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValueError(f"{setting} must be the name of a column; got {name!r}")
    return str(name)


class RowReader(FileReader):
    """Reader of files of rows with named fields.

    Args:
        text_key: Field of the text.
        title_key: Field of the title; rows may lack it.
        id_key: Field that identifies documents; None identifies them by the position of the row.
        prose_only: True drops headings and list entries, as the readers of Wikipedia do.
        sentence_per_line: True makes a sentence of every line.
        **reader: Arguments of every `FileReader`.
    """

    def __init__(
        self,
        text_key: str = "text",
        title_key: str = "title",
        id_key: str | None = None,
        prose_only: bool = False,
        sentence_per_line: bool = False,
        **reader: Any,
    ) -> None:
        super().__init__(**reader)
        self.fields = RowFields(text_key, title_key, id_key, prose_only, sentence_per_line)
