"""Streaming through the package datasets, from a folder of parquet files: the same documents as from the files."""

from pathlib import Path
from typing import Any

import pytest

from data_pipeline.corpora.hub_stream import HubStream
from data_pipeline.corpora.parquet import Parquet
from data_pipeline.preparation.extraction import group_parts
from data_pipeline.records import Document, Dropped
from tests.support.corpora import articles, write_rows

pytest.importorskip("datasets")


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three parquet files."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    rows = articles(30)
    for number in range(3):
        write_rows(tmp_path / "data" / f"train-{number}.parquet", rows[10 * number : 10 * number + 10])
    return tmp_path / "data"


def make_reader(path: Path | str, **extra: Any) -> HubStream:
    return HubStream(str(path), name="c", licence="none", origin="test", **extra)


def read(reader: HubStream) -> list[Document | Dropped]:
    return [item for part in reader.parts(1) for item in reader.read_part(part)]


def test_the_stream_is_the_files(dataset: Path) -> None:
    files = Parquet(name="c", path=dataset, licence="none", origin="test", id_key="id")
    expected = [item for part in files.parts(1 << 30) for item in files.read_part(part)]
    assert read(make_reader(dataset, id_key="id")) == expected
    assert len(expected) == 30
    some = make_reader(dataset, id_key="id", data_files="train-1.parquet")
    assert read(some) == expected[10:20]


def test_every_shard_is_a_task_whatever_its_size(dataset: Path) -> None:
    groups = group_parts([make_reader(dataset)], group_bytes=1 << 40)
    assert [[part.begin for part in group.parts] for group in groups] == [[0], [1], [2]]
    identifiers = [item.identifier for item in read(make_reader(dataset)) if isinstance(item, Document)]
    assert identifiers[9:11] == ["c/0/9", "c/1/0"]


def test_what_the_dataset_says_of_itself_tells_it_from_another(dataset: Path) -> None:
    first = make_reader(dataset).content_sha256()
    assert make_reader(dataset).content_sha256() == first
    assert make_reader(dataset, data_files="train-1.parquet").content_sha256() != first
    write_rows(dataset / "train-3.parquet", articles(1))
    assert make_reader(dataset).content_sha256() != first


def test_what_does_not_open_or_has_no_text_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"corpus c: the dataset .*nowhere does not open"):
        make_reader(tmp_path / "nowhere").parts(1)
    with pytest.raises(ValueError, match=r"text_key=body, but .* has no column 'body'; it has id, url, title, text"):
        read(make_reader(dataset, text_key="body"))
    write_rows(tmp_path / "numbers" / "train.parquet", [{"text": 3}])
    with pytest.raises(ValueError, match=r"text_key=text, but column 'text' of .* does not hold text; it has text"):
        read(make_reader(tmp_path / "numbers"))
