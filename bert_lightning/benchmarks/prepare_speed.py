"""How long each stage of preparation takes in one process on one core, and which one is the limit."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from tokenizers import Tokenizer

from bert_lightning.benchmarks.findings import FigureTable
from data_pipeline.corpora.reader import Reader
from data_pipeline.preparation.sentences import split_sentences
from data_pipeline.prepared.shards import write_shard
from data_pipeline.records import Document, TokenizedDocument
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer
from data_pipeline.tokenizers.word_cache import WordCache

DOCUMENTS_AT_A_TIME = 64
DOCUMENTS_OF_A_SHARD = 1000
T = TypeVar("T")


class CorpusSources(Protocol):
    """A corpus as bert-prepare takes it: one reader or several."""

    @property
    def sources(self) -> list[Reader]:
        """The readers."""


def prepare_speed(corpus: CorpusSources, tokenizer: Tokenizer, text_bytes: int) -> FigureTable:
    """Time reading, sentence splitting, tokenizing and writing, one after another, on the same documents.

    Args:
        corpus: The corpus to read.
        tokenizer: The tokenizer; its training is not timed.
        text_bytes: Input to read at most, the same share of it from every source.

    Returns:
        Seconds, share of the time, megabytes of input and tokens a second of each stage.
    """
    with _one_core():
        (documents, read_bytes), reading = _timed(lambda: _read(corpus.sources, text_bytes))
        sentences, splitting = _timed(lambda: [_sentences(document, language) for document, language in documents])
        tokenized, tokenizing = _timed(lambda: list(_tokenize(sentences, tokenizer)))
        with tempfile.TemporaryDirectory(prefix="bert-benchmark-") as folder:
            _, writing = _timed(lambda: _write(Path(folder), tokenized, tokenizer.get_vocab_size()))
    tokens = sum(len(sentence) for document in tokenized for sentence in document.sentences)
    stages = {
        "read and clean": reading,
        "split into sentences": splitting,
        "tokenize": tokenizing,
        "write shards and hash them": writing,
    }
    total = sum(stages.values())
    table = FigureTable(
        f"preparation, one core, {read_bytes / 1e6:.1f} MB of input, {tokens / 1e6:.2f} million tokens",
        ("stage", "seconds", "share of the time %", "MB of input/s", "million tokens/s"),
        note="the stage with the largest share is the limit",
    )
    for stage, seconds in [*stages.items(), ("all", total)]:
        table.rows.append((stage, seconds, 100 * seconds / total, read_bytes / 1e6 / seconds, tokens / 1e6 / seconds))
    return table


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep the tokenizer from using more than one core."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def _read(sources: Sequence[Reader], text_bytes: int) -> tuple[list[tuple[Document, str]], int]:
    """Return documents with their language, and the bytes of what they are read from."""
    documents: list[tuple[Document, str]] = []
    total = 0
    for reader in sources:
        read = 0
        for part in reader.parts(text_bytes):
            documents += [(item, reader.language) for item in reader.read_part(part) if isinstance(item, Document)]
            read += part.bytes or 0
            if read >= text_bytes / len(sources):
                break
        total += read
    return documents, total


def _sentences(document: Document, language: str) -> Sequence[str]:
    return document.paragraphs if document.presplit else split_sentences(document.paragraphs, language)


def _tokenize(documents: Sequence[Sequence[str]], tokenizer: Tokenizer) -> Iterator[TokenizedDocument]:
    words = WordCache(plain_text_tokenizer(tokenizer))
    for begin in range(0, len(documents), DOCUMENTS_AT_A_TIME):
        group = documents[begin : begin + DOCUMENTS_AT_A_TIME]
        flat = [sentence for sentences in group for sentence in sentences]
        ids = iter(words.encode(flat))
        for number, sentences in enumerate(group, begin):
            if kept := [tokens for _ in sentences if (tokens := next(ids))]:
                yield TokenizedDocument(str(number), kept)


def _write(folder: Path, documents: Sequence[TokenizedDocument], vocab_size: int) -> None:
    for begin in range(0, len(documents), DOCUMENTS_OF_A_SHARD):
        write_shard(folder, f"{begin:09d}.tar", documents[begin : begin + DOCUMENTS_OF_A_SHARD], vocab_size)
