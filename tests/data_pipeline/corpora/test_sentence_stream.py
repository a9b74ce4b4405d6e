"""BookCorpus as a flat stream: each of the three rules that begin a document."""

from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from data_pipeline.corpora.sentence_stream import SentenceStream
from data_pipeline.records import Document, Dropped
from tests.support.checkout import ROOT
from tests.support.corpora import write_rows

CONFIG = ROOT / "conf" / "corpus" / "bookcorpus.yaml"


def read(path: Path, **extra: Any) -> list[Document | Dropped]:
    reader = SentenceStream(name="c", path=path, licence="none", origin="test", **extra)
    return [item for part in reader.parts(1 << 30) for item in reader.read_part(part)]


def write(path: Path, sentences: list[str], **columns: list[Any]) -> Path:
    rows = [{"text": text, **{k: v[i] for k, v in columns.items()}} for i, text in enumerate(sentences)]
    return write_rows(path, rows, row_group_size=3)


def test_a_column_decides_where_there_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "b.parquet", ["a b .", "c .", " ", "d .", "e ."], book=[1, 1, 1, 2, 1])
    assert read(path, document_key="book", boundary="c") == [
        Document("c/b.parquet/0", ["a b .", "c ."], presplit=True),
        Document("c/b.parquet/3", ["d ."], presplit=True),
        Document("c/b.parquet/4", ["e ."], presplit=True),
    ]


def test_a_boundary_begins_a_document_that_front_matter_does_not_cut_up(tmp_path: Path) -> None:
    book = ["copyright 2012 by a .", "all rights reserved .", "chapter one", "it was .", "it is .", "it will be ."]
    path = write(tmp_path / "b.parquet", book * 3)
    documents = read(path, boundary="^(copyright|all rights|chapter (one|1)$)", min_sentences=4)
    assert [d.paragraphs for d in documents if isinstance(d, Document)] == [book] * 3


def test_a_document_never_grows_beyond_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "books_large_p1.txt"
    path.write_text("".join(f"sentence {i} .\n" for i in range(10)))
    documents = [item for item in read(path, max_sentences=4) if isinstance(item, Document)]
    assert [len(d.paragraphs) for d in documents] == [4, 4, 2]
    assert [s for d in documents for s in d.paragraphs] == [f"sentence {i} ." for i in range(10)]


@pytest.mark.parametrize("name", ["b.parquet", "b.txt"])
def test_a_large_file_is_cut_and_a_document_begins_where_a_part_does(tmp_path: Path, name: str) -> None:
    sentences = [f"sentence {i} ." for i in range(40)]
    path = tmp_path / name
    if name == "b.txt":
        path.write_text("\n".join(sentences))
    else:
        write(path, sentences)
    reader = SentenceStream(name="c", path=path, licence="none", origin="test", max_sentences=4)
    parts = reader.parts(200)
    assert len(parts) > 2
    documents = [[item for item in reader.read_part(part) if isinstance(item, Document)] for part in parts]
    flat = [document for part in documents for document in part]
    assert [sentence for document in flat for sentence in document.paragraphs] == sentences
    places = {text: i if name == "b.parquet" else "\n".join(sentences).index(text) for i, text in enumerate(sentences)}
    assert [document.identifier for document in flat] == [f"c/{name}/{places[d.paragraphs[0]]}" for d in flat]
    assert all(len(document.paragraphs) == 4 for part in documents for document in part[:-1])


def test_the_rule_of_the_config_finds_the_books(tmp_path: Path) -> None:
    book = ["Copyright 2012 by A .", "chapter 1", *(f"he walked {i} miles ." for i in range(250)), "the end ."]
    path = write(tmp_path / "b.parquet", book * 4)
    reader = instantiate(OmegaConf.merge(OmegaConf.load(CONFIG), {"path": str(path)}))
    documents = [item for part in reader.parts(1 << 30) for item in reader.read_part(part)]
    assert [d.paragraphs for d in documents] == [book] * 4


def test_settings_and_files_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "b.parquet", ["a", "b"])
    with pytest.raises(ValueError, match="min_sentences=5 must be from 1 to max_sentences=4"):
        read(path, min_sentences=5, max_sentences=4)
    with pytest.raises(ValueError, match=r"boundary='\(' is no regular expression"):
        read(path, boundary="(")
    with pytest.raises(ValueError, match=r"document_key=book, but .* has no column 'book'; it has text"):
        read(path, document_key="book")
    (tmp_path / "b.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"document_key=book, but .*b\.txt is no parquet file"):
        read(tmp_path / "b.txt", document_key="book")
    (tmp_path / "b.txt").write_text("\n\n")
    assert read(tmp_path / "b.txt") == [Dropped("no sentence")]
