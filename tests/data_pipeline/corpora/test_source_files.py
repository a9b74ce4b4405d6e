"""Files of a corpus: what bert-prepare itself has written beside or among them is no text to read."""

from pathlib import Path

import pytest

from data_pipeline.corpora.parquet import Parquet
from data_pipeline.corpora.source_files import find_files, kinds_of
from data_pipeline.corpora.text_lines import TextLines


@pytest.fixture
def around(tmp_path: Path) -> Path:
    """A folder of text into which the output was written, and the list of bad input of another try."""
    for name in ("a.txt", "b/c.txt", "d.bad-input.txt", "data/manifest.json", "data/tokenizer/tokenizer.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("The king.\n")
    for name in ("vocab.txt", "raw/e.txt"):
        (tmp_path / "data" / "tokenizer" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / "tokenizer" / name).write_text("[PAD]\n")
    return tmp_path


@pytest.mark.parametrize("pattern", ["", "**/*.txt"])
def test_prepared_folders_and_lists_of_bad_input_are_left_aside_and_counted(around: Path, pattern: str) -> None:
    files, aside = find_files(str(around / pattern), TextLines.file_names)
    assert files == [around / "a.txt", around / "b" / "c.txt"]
    assert kinds_of(aside) == {"data": 1, "d.bad-input.txt": 1}


def test_the_corpus_that_reads_other_files_is_named(around: Path) -> None:
    (around / "b" / "TABLE.TSV").touch()
    (around / "readme.csv").touch()
    with pytest.raises(ValueError, match=r"it has .*\*\.TSV.*; corpus=books reads \*\.txt; corpus=csv reads \*\.TSV"):
        Parquet(name="rows", path=around, licence="", origin="", text_key="text").files()


def test_a_pattern_without_a_folder_looks_from_here(around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(around)
    assert find_files("**/*.txt", None)[0] == [Path("a.txt"), Path("b/c.txt")]


@pytest.mark.parametrize("path", ["data/tokenizer/vocab.txt", "data/tokenizer", "data/tokenizer/raw/*.txt"])
def test_what_is_named_inside_a_prepared_folder_is_read(around: Path, path: str) -> None:
    assert find_files(str(around / path), TextLines.file_names)[0]
