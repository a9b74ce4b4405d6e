"""The output: links are followed, and a folder that cannot be replaced at the end is refused at the beginning."""

import os
from pathlib import Path

import pytest

from data_pipeline.corpora.source_files import find_files
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.output_folder import OutputFolder
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.corpora import reader, write_corpus


def prepare(source: Path, output: Path) -> None:
    Preparation(output).run([reader(source)], lambda texts: train_wordpiece(texts(), 120), {}, LocalExecutor(1))


def test_the_folder_behind_a_link_is_prepared_on_its_own_disk_and_the_link_stays(tmp_path: Path) -> None:
    big, link = tmp_path / "disk" / "big", tmp_path / "link"
    big.mkdir(parents=True)
    link.symlink_to(big)
    assert Preparation(link).work.path == tmp_path / "disk" / ".big.preparing"
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "manifest.json").touch()
    OutputFolder.named(link).publish(tmp_path / "built")
    assert link.is_symlink()
    assert (big / "manifest.json").exists()


def test_a_link_to_nothing_yet_is_a_link_to_the_new_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "new")
    assert OutputFolder.named(tmp_path / "link") == OutputFolder(tmp_path / "new")
    assert OutputFolder.named(tmp_path / "link").manifest() is None


def test_a_folder_that_cannot_be_replaced_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, here = write_corpus(tmp_path / "text"), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for path, inside in ((Path(), here / "data"), (here, here / "data"), (Path("../here"), "../here/data")):
        with pytest.raises(ValueError, match=rf"is the folder that the command runs in, .*output_dir={inside}"):
            prepare(source, path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == here)
    with pytest.raises(ValueError, match=rf"{here} is the root of a mounted disk, .*output_dir={here}/data"):
        prepare(source, here)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["here", "text"]


def test_readers_leave_the_list_of_bad_input_aside(tmp_path: Path) -> None:
    OutputFolder(tmp_path / "out").bad_input.touch()
    assert [file.name for file in find_files(str(tmp_path), None)[1]] == ["out.bad-input.txt"]
