"""A corpus of text files, its reader, and what a preparation leaves."""

import hashlib
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from data_pipeline.corpora.reader import FileReader
from data_pipeline.corpora.text_lines import TextLines
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.shards import TokenShard, check_size, parse_shard
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.texts import tiny_texts


def write_corpus(folder: Path, files: int = 6, documents: int = 20) -> Path:
    folder.mkdir()
    for file in range(files):
        text = "\n\n".join("\n".join(document) for document in tiny_texts(documents, seed=file))
        (folder / f"{file}.txt").write_text(text + "\n")
    return folder


def identifiers(folder: Path, file: int, source: str = "tiny") -> list[str]:
    """Of the documents of a file of `write_corpus`: the bytes at which they begin."""
    text = (folder / f"{file}.txt").read_text()
    lengths = [len(document) + 2 for document in text.split("\n\n")]
    return [f"{source}/{file}.txt/{begin}" for begin in accumulate([0, *lengths[:-1]])]


def reader(path: Path, kind: type[FileReader] = TextLines, name: str = "tiny") -> FileReader:
    return kind(name=name, path=path, licence="public domain", origin="made by the tests")


def contents(folder: Path) -> dict[str, str]:
    """Hashes of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_rows(path: Path, rows: list[dict[str, Any]], row_group_size: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=row_group_size)
    return path


def articles(number: int) -> list[dict[str, Any]]:
    return [{"id": str(i), "url": "u", "title": f"T{i}", "text": f"Article {i} is here."} for i in range(number)]


def read_shard(folder: Path, entry: ShardEntry, vocab_size: int | None = None) -> TokenShard:
    path = check_size(folder, entry)
    return parse_shard(path.read_bytes(), str(path), entry, vocab_size)


def prepare_two_sources(folder: Path) -> Path:
    """Prepare a source of many documents and one of few."""
    sources = []
    for name, seed, documents in (("many", 0, 120), ("few", 1, 40)):
        text = "\n\n".join("\n".join(document) for document in tiny_texts(documents, seed=seed))
        (folder / f"{name}.txt").write_text(text)
        sources.append(TextLines(name, folder / f"{name}.txt", "", ""))
    preparation = Preparation(folder / "prepared", validation_fraction=0.3)
    preparation.run(sources, lambda texts: train_wordpiece(texts(), 120), {}, LocalExecutor(1))
    return folder / "prepared"
