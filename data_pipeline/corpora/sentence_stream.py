"""BookCorpus as it is passed on: one flat stream of sentences, without a mark between one book and the next.

Where a document begins is decided by the first of these that applies:

1. the value of `document_key` changes, where the rows have such a column;
2. the sentence matches `boundary`, and the document so far has `min_sentences`: the front matter of a book (title page,
   copyright, contents) matches several times in a row and is meant to begin one document, not ten;
3. the document has `max_sentences`, which bounds the memory and is what is left where no boundary is found.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.corpora.parquet import read_rows
from data_pipeline.corpora.reader import FileReader
from data_pipeline.records import Document, Dropped


class SentenceStream(FileReader):
    """Documents out of sentences, one a row of a parquet file or one a line of a text file; files are not joined.

    Args:
        text_key: The column that holds a sentence.
        document_key: A column whose value is another one in every document; None where there is none.
        boundary: A regular expression; a sentence in which it is found, in any case, may begin a document.
        min_sentences: Fewest sentences of a document before a boundary ends it.
        max_sentences: Most sentences of a document.
        **reader: As for every `FileReader`.
    """

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

    def read(self, file: Path) -> Iterator[Document | Dropped]:
        """Yield the documents of a file in order; empty sentences are left out."""
        label, number = self.label(file), 0
        sentences: list[str] = []
        last = None
        for sentence, document in self._rows(file):
            if sentences and (document != last or self._ends(sentences, sentence)):
                yield Document(f"{self.name}/{label}/{number}", sentences, presplit=True)
                number, sentences = number + 1, []
            sentences.append(sentence)
            last = document
        if sentences:
            yield Document(f"{self.name}/{label}/{number}", sentences, presplit=True)
        elif number == 0:
            yield Dropped("empty file")

    def _ends(self, sentences: list[str], following: str) -> bool:
        if len(sentences) >= self.max_sentences:
            return True
        if self.document_key is not None or self.boundary is None or len(sentences) < self.min_sentences:
            return False
        return re.search(self.boundary, following, re.IGNORECASE) is not None

    def _rows(self, file: Path) -> Iterator[tuple[str, Any]]:
        """Yield every sentence that is not empty, and the document that the file says it is of."""
        if file.suffix == ".parquet":
            columns = [self.text_key] if self.document_key is None else [self.text_key, self.document_key]
            for _, row in read_rows(self.name, file, columns):
                if sentence := " ".join((row[self.text_key] or "").split()):
                    yield sentence, row[self.document_key] if self.document_key else None
        else:
            if self.document_key is not None:
                raise ValueError(f"corpus {self.name}: {file} is no parquet file: it has no {self.document_key!r}")
            with self.opened(file) as lines:
                yield from ((sentence, None) for line in lines if (sentence := " ".join(line.split())))
