"""Which file of a folder is which split."""

from pathlib import Path

import pytest

from data_pipeline.tasks.split_files import split_file


def test_exact_names_come_before_words_of_names(tmp_path: Path) -> None:
    for name in ("train.tsv", "train-more.tsv", "dev-v1.1.tsv", "en_ewt-ud-test.tsv", "latest.tsv", "test.pdf"):
        (tmp_path / name).touch()
    found = {split: split_file(tmp_path, split, [".tsv"]) for split in ("train", "validation", "test")}
    assert {split: file and file.name for split, file in found.items()} == {
        "train": "train.tsv",
        "validation": "dev-v1.1.tsv",
        "test": "en_ewt-ud-test.tsv",
    }
    assert split_file(tmp_path, "test", [".json"]) is None


def test_two_files_of_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("dev.tsv", "val.tsv"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"has dev\.tsv and val\.tsv: only one may be the validation split"):
        split_file(tmp_path, "validation", [".tsv"])
    with pytest.raises(ValueError, match=r"dev\.tsv is not a folder"):
        split_file(tmp_path / "dev.tsv", "validation", [".tsv"])
