"""Parquet: the layout of wikimedia/wikipedia, row groups as parts, constant memory, what is refused."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from data_pipeline.corpora.parquet import Parquet
from data_pipeline.records import Document, Dropped
from tests.support.corpora import articles, write_rows

ARTICLE = "Bern is the capital of Switzerland.\n\nHistory\n\nIt was founded in 1191.\n\nSee also\nList\nZurich"


def make_reader(path: Path, **extra: Any) -> Parquet:
    return Parquet(name="c", path=path, licence="none", origin="test", **extra)


def read(reader: Parquet, part_bytes: int = 1 << 30) -> list[Document | Dropped]:
    return [item for part in reader.parts(part_bytes) for item in reader.read_part(part)]


def test_articles_lose_headings_and_lists_and_keep_their_identifiers(tmp_path: Path) -> None:
    rows = [
        {"id": "7", "url": "u", "title": "Bern", "text": ARTICLE},
        {"id": "8", "url": "u", "title": "List", "text": "one\ntwo"},
        {"id": "9", "url": "u", "title": "None", "text": None},
    ]
    write_rows(tmp_path / "20231101.en" / "train-00000-of-00041.parquet", rows)
    assert read(make_reader(tmp_path, id_key="id", prose_only=True)) == [
        Document("c/7", ["Bern is the capital of Switzerland.", "It was founded in 1191."], "Bern"),
        Dropped("no running text"),
        Dropped("empty text"),
    ]
    whole = read(make_reader(tmp_path))[0]
    assert isinstance(whole, Document)
    assert whole.identifier == "c/20231101.en/train-00000-of-00041.parquet/0"
    assert whole.paragraphs[1] == "History"


@pytest.mark.parametrize("part_bytes", [1, 300, 1000, 1 << 20])
def test_parts_are_all_of_the_files_in_order(tmp_path: Path, part_bytes: int) -> None:
    for name, number in (("a", 11), ("b", 3), ("c", 0)):
        rows = articles(number) or [{"id": "", "url": "", "title": "", "text": ""}]
        write_rows(tmp_path / f"{name}.parquet", rows)
    reader = make_reader(tmp_path)
    parts = reader.parts(part_bytes)
    assert len(parts) == (9 if part_bytes == 1 else len(parts)) >= 3
    found = [item.identifier for item in read(reader, part_bytes) if isinstance(item, Document)]
    assert found == [f"c/{name}.parquet/{row}" for name, number in (("a", 11), ("b", 3)) for row in range(number)]
    assert sum(part.bytes or 0 for part in parts) < sum(file.stat().st_size for file in reader.files())


def test_memory_holds_a_row_group_not_the_file(tmp_path: Path) -> None:
    def peak(groups: int) -> int:
        rows = [{"text": json.dumps(list(range(2000)))} for _ in range(50 * groups)]
        reader = make_reader(write_rows(tmp_path / f"{groups}.parquet", rows, row_group_size=50))
        before = pyarrow.total_allocated_bytes()
        tracemalloc.start()
        (part,) = reader.parts(1 << 30)
        most = max(pyarrow.total_allocated_bytes() - before for _ in reader.read_part(part))
        _, own = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most + own

    assert peak(12) < 1.5 * peak(4)


@pytest.mark.parametrize(
    ("content", "extra", "setting", "said"),
    [
        (b"no parquet", {}, "", "is not a whole parquet file"),
        (b"", {}, "", "is not a whole parquet file"),
        (None, {"text_key": "body"}, "text_key=body", "has no column 'body'; it has id, url, title, text"),
        (None, {"id_key": "key"}, "id_key=key", "has no column 'key'; it has id, url, title, text"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    tmp_path: Path, content: bytes | None, extra: dict[str, str], setting: str, said: str
) -> None:
    path = write_rows(tmp_path / "a.parquet", articles(3))
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"corpus c: {setting}.*a\.parquet {said}"):
        read(make_reader(path, **extra))


def test_a_file_cut_in_the_middle_or_with_numbers_for_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(articles(300)), path, write_page_checksum=True)
    content = path.read_bytes()
    place = parquet.ParquetFile(path).metadata.row_group(0).column(3).dictionary_page_offset
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a\.parquet is not a whole parquet file"):
        read(make_reader(path))
    path.write_bytes(content[: place + 400] + b"is" + content[place + 402 :])
    with pytest.raises(ValueError, match=r"a\.parquet is not a whole parquet file"):
        read(make_reader(path))
    write_rows(path, [{"text": 3}])
    with pytest.raises(ValueError, match=r"text_key=text, but in .* column 'text' holds int64, not text; it has text"):
        read(make_reader(path))
