"""BookCorpus as it is passed on: one flat stream of sentences, without a mark between one book and the next.

Where a document begins is decided by the first of these that applies:

1. the value of `document_key` changes, where the rows have such a column;
2. the sentence matches `boundary`, and the document so far has `min_sentences`: the front matter of a book (title page,
   copyright, contents) matches several times in a row and is meant to begin one document, not ten;
3. the document has `max_sentences`, which bounds the memory and is what is left where no boundary is found.

A large file is cut into parts for tasks side by side, so a document also begins where a part does.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.corpora.parquet import cut_at_row_groups, read_rows
from data_pipeline.corpora.reader import FileReader, Part
from data_pipeline.records import Document, Dropped


class SentenceStream(FileReader):
    """Documents out of sentences, one a row of a parquet file or one a line of a text file; files are not joined.

    The number of the row, or the byte of a text file, at which a document begins tells it apart.

    Args:
        text_key: The column that holds a sentence.
        document_key: A column whose value is another one in every document; None where there is none.
        boundary: A regular expression; a sentence in which it is found, in any case, may begin a document.
        min_sentences: Fewest sentences of a document before a boundary ends it.
        max_sentences: Most sentences of a document.
        **reader: As for every `FileReader`.
    """

    entry = re.compile(rb"\n")

    def __init__(
        self,
        text_key: str = "text",
        document_key: str | None = None,
        boundary: str | None = None,
        min_sentences: int = 1,
        max_sentences: int = 20_000,
        **reader: Any,
    ) -> None:
        super().__init__(**reader)
        if not 1 <= min_sentences <= max_sentences:
            raise ValueError(
                f"corpus {self.name}: min_sentences={min_sentences} must be from 1 to max_sentences={max_sentences}"
            )
        try:
            re.compile(boundary or "")
        except re.error as error:
            raise ValueError(f"corpus {self.name}: boundary={boundary!r} is no regular expression: {error}") from error
        self.text_key = text_key
        self.document_key = document_key
        self.boundary = boundary
        self.min_sentences = min_sentences
        self.max_sentences = max_sentences

    def cut(self, file: Path, part_bytes: int) -> Iterator[Part]:
        """Cut a file at beginnings of lines, a parquet file between row groups."""
        if file.suffix == ".parquet":
            return cut_at_row_groups(self.name, file, part_bytes)
        return super().cut(file, part_bytes)

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield the documents of a part in order; empty sentences are left out."""
        label, first = self.label(Path(part.name)), part.begin
        sentences: list[str] = []
        last = None
        for place, sentence, document in self._rows(part):
            if sentences and (document != last or self._ends(sentences, sentence)):
                yield Document(f"{self.name}/{label}/{first}", sentences, presplit=True)
                sentences = []
            if not sentences:
                first = place
            sentences.append(sentence)
            last = document
        if sentences:
            yield Document(f"{self.name}/{label}/{first}", sentences, presplit=True)
        else:
            yield Dropped("no sentence")

    def _ends(self, sentences: list[str], following: str) -> bool:
        if len(sentences) >= self.max_sentences:
            return True
        if self.document_key is not None or self.boundary is None or len(sentences) < self.min_sentences:
            return False
        return re.search(self.boundary, following, re.IGNORECASE) is not None

    def _rows(self, part: Part) -> Iterator[tuple[int, str, Any]]:
        """Yield every sentence that is not empty, with its place, and the document that the file says it is of."""
        if Path(part.name).suffix == ".parquet":
            columns = [self.text_key] if self.document_key is None else [self.text_key, self.document_key]
            for number, row in read_rows(self.name, part, columns):
                if sentence := " ".join((row[self.text_key] or "").split()):
                    yield number, sentence, row[self.document_key] if self.document_key else None
        else:
            if self.document_key is not None:
                raise ValueError(f"corpus {self.name}: {part.name} is no parquet file: it has no {self.document_key!r}")
            for place, line in self.lines(part):
                if sentence := " ".join(line.split()):
                    yield place, sentence, None
