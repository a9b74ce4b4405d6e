"""Entries of sources: what is listed of them stays within what a manifest may hold."""

import json
import os
from pathlib import Path

import pytest

from data_pipeline.corpora.text_lines import TextLines
from data_pipeline.preparation import source_entries as entries_of_sources
from data_pipeline.preparation.extracted_text import ExtractedText, ExtractionReport
from data_pipeline.preparation.extraction import InputGroup
from data_pipeline.preparation.source_entries import source_entries
from data_pipeline.prepared.manifest import SourceEntry


def entries(folder: Path, titles: dict[str, list[str]]) -> list[SourceEntry]:
    """The entries of sources with these titles, all of them over one folder of text."""
    text = ExtractedText(folder / "work")
    text.folder.mkdir()
    groups = [InputGroup(TextLines(name=name, path=folder, licence="", origin=""), ()) for name in titles]
    for number, of_source in enumerate(titles.values()):
        text.save_report(number, ExtractionReport(titles=of_source))
    return source_entries(groups, text.reports(len(groups)), [], text)


def test_all_sources_share_the_room_for_titles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries_of_sources, "TITLE_BYTES", 300)
    titles = {
        "long": ["История города " * 3, "История"],
        "short": [f"T{number}" for number in range(100)],
        "few": ["A"],
    }
    found = {entry.name: entry.titles for entry in entries(tmp_path, titles)}
    assert found == {"long": titles["long"][:1], "short": titles["short"][:22], "few": ["A"]}
    assert sum(len(json.dumps(title, ensure_ascii=False).encode()) for each in found.values() for title in each) <= 300


def test_files_left_aside_whose_names_are_no_text_are_counted(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"x.\xe9t\xe9")).touch()
    (entry,) = entries(tmp_path, {"text": []})
    assert entry.dropped[r"file left aside: *.\udce9t\udce9"] == 1
