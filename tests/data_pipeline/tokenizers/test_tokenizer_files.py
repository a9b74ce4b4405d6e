"""The files of a tokenizer have known names and are read from inside their folder only."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from data_pipeline.tokenizers.tokenizer_files import (
    TOKENIZER_FILES,
    check_tokenizer_files,
    read_tokenizer_files,
    write_tokenizer_files,
)
from data_pipeline.tokenizers.transformers_files import save_tokenizer, tokenizer_files


def test_all_that_is_written_is_read_and_nothing_else(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    files = read_tokenizer_files(tmp_path)
    assert files == tokenizer_files(tokenizer)
    assert set(files) == set(TOKENIZER_FILES) - {"added_tokens.json"}


def test_a_link_brings_nothing_in(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "vocab.txt").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match=r"vocab\.txt is a link to /etc/passwd"):
        read_tokenizer_files(tmp_path)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "sub/tokenizer.json", "x.py", "", "tokenizer.json\n"])
def test_other_names_are_never_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"names the files .*; a tokenizer has"):
        write_tokenizer_files({"vocab.txt": "x", name: "owned"}, folder)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("files", [5, ["vocab.txt"], {"vocab.txt": 5}, {5: "x"}, None])
def test_what_is_not_text_by_name_is_refused(files: object) -> None:
    with pytest.raises(ValueError, match=r"^x\.ckpt has tokenizer"):
        check_tokenizer_files(files, "x.ckpt")
