"""The files of a task: found by their names, named, or held out of the training file."""

from pathlib import Path

import pytest

from bert_lightning.finetuning.split_sources import FileSplits, SplitFiles


def lines(path: Path) -> list[str]:
    return path.read_text().split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train", "dev", "test", "more-train"):
        (tmp_path / f"{name}.txt").write_text(f"{name} " * 10)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "train.txt").write_text("sub " * 10)
    return tmp_path


def read(path: Path, share: float = 0.2, **named: str) -> dict[str, list[str]]:
    return FileSplits(SplitFiles(path, **named, validation_share=share), lines, [".txt"]).splits()


def test_files_are_found_named_or_held_out(folder: Path) -> None:
    assert {name: texts[0] for name, texts in read(folder).items()} == {
        "train": "train",
        "validation": "dev",
        "test": "test",
    }
    named = read(folder, train="more-train.txt", test="sub/train.txt")
    assert {name: texts[0] for name, texts in named.items()} == {
        "train": "more-train",
        "validation": "dev",
        "test": "sub",
    }
    assert {name: len(texts) for name, texts in read(folder / "train.txt").items()} == {"train": 8, "validation": 2}
    beside = read(folder / "train.txt", validation="dev.txt")
    assert {name: texts[0] for name, texts in beside.items()} == {"train": "train", "validation": "dev"}


def test_examples_of_one_group_are_held_out_together(folder: Path) -> None:
    (folder / "train.txt").write_text(" ".join(f"{letter}{number}" for letter in "abcdefghij" for number in range(5)))
    files = SplitFiles(folder / "train.txt", validation_share=0.2)
    splits = FileSplits(files, lines, [".txt"], group=lambda text: text[0]).splits()
    assert {name: len(texts) for name, texts in splits.items()} == {"train": 40, "validation": 10}
    assert not {text[0] for text in splits["train"]} & {text[0] for text in splits["validation"]}
    with pytest.raises(ValueError, match=r"validation_share=0\.2 leaves none of 1 text with examples to train on"):
        FileSplits(files, lines, [".txt"], group=len).splits()


def test_what_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"task\.path=.*nowhere does not exist"):
        read(folder / "nowhere")
    with pytest.raises(ValueError, match=r"task\.test=no\.txt is no file in "):
        read(folder, test="no.txt")
    with pytest.raises(ValueError, match=r"task\.validation_share must be between 0 and 1; got 1"):
        read(folder, share=1)
    (folder / "train.txt").unlink()
    (folder / "train-a.txt").touch()
    with pytest.raises(ValueError, match=r"has more-train\.txt and train-a\.txt: .*; task\.train can name it"):
        read(folder)
    for name in ("more-train.txt", "train-a.txt"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"has no train file that ends in \.txt"):
        read(folder)
