"""Settings of two preparations: those that differ are named with both values, and none if the output is the same."""

from pathlib import Path
from typing import Any

import pytest

from data_pipeline.corpora.jsonl import JsonLines
from data_pipeline.corpora.reader import Reader
from data_pipeline.preparation.extraction import group_parts
from data_pipeline.preparation.kept_settings import differences, input_settings


def lines_of(path: Path, **changes: Any) -> Reader:
    return JsonLines(name="news", path=path, licence="", origin="", **changes)


def settings(reader: Reader, group_bytes: int = 1000) -> dict[str, Any]:
    return input_settings([reader], group_parts([reader], group_bytes), group_bytes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "news.jsonl").write_text('{"text": "The king went to the river."}\n' * 100)
    return tmp_path / "news.jsonl"


def test_a_setting_of_a_reader_and_the_size_of_tasks_are_named_with_both_values(path: Path) -> None:
    first = settings(lines_of(path))
    assert differences(first, settings(lines_of(path, weight=2))) == ["corpus.news.weight was 1.0 and is 2.0"]
    named = ["corpus.news.fields.text was 'text' and is 'body'", "group_bytes was 1000 and is 500"]
    assert differences(first, settings(lines_of(path, text_key="body"), 500)) == named
    path.write_text('{"text": "The king went home."}\n')
    (changed,) = differences(first, settings(lines_of(path)))
    assert changed.startswith("input_sha256, the hash of the input files, was ")


def test_what_does_not_change_the_output_is_no_difference(path: Path) -> None:
    first = settings(lines_of(path))
    assert differences(first, first | {"group_bytes": 999}) == []
    of_version_four = {"input_sha256": first["input_sha256"]}
    assert differences(of_version_four, first) == []
    (changed,) = differences(of_version_four, settings(lines_of(path, weight=2)))
    assert changed.startswith("input_sha256")


def test_settings_that_come_and_go_are_named(path: Path) -> None:
    changed = differences({"a": {"b": True, "d": {"e": "x"}}}, {"a": None, "c": 2})
    assert changed == ["a was (b=true, d=(e='x')) and is not set", "c was not set and is 2"]


def test_sources_that_come_and_go_are_named_and_not_with_all_their_settings() -> None:
    before = {"input_sha256": "1", "corpus": {"text": {"language": "en"}, "news": {"weight": 1.0}}}
    now = {"input_sha256": "2", "corpus": {"news": {"weight": 2.0}, "books": {"language": "en"}}}
    changed = ["corpus was text, news and is news, books", "corpus.news.weight was 1.0 and is 2.0"]
    assert differences(before, now) == changed


def test_neither_paths_nor_addresses_are_kept(path: Path) -> None:
    reader = lines_of(path)
    reader.dataset = {"data_files": "https://host/a.parquet?signature=key"}  # type: ignore[attr-defined]
    reader.cache_dir = path.parent  # type: ignore[attr-defined]
    kept = settings(reader)["corpus"]["news"]
    assert not {"path", "dataset", "cache_dir"}.intersection(kept)
    assert kept["fields"] == {**kept["fields"], "text": "text"}
