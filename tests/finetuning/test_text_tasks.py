"""Texts with labels as a task: where classes come from, files without labels, and what is refused before training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from bert_lightning.finetuning.glue_tasks import glue_task
from bert_lightning.finetuning.split_sources import SplitFiles
from bert_lightning.finetuning.task import VALIDATION
from bert_lightning.metrics.collected_scores import ExampleScores
from tests.finetuning.scored import make_task, score


def write(path: Path, labels: list[str], header: str = "text,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(f"alpha {row}{label}" for row, label in enumerate(labels))]) + "\n")
    return path


def labels_of(*names: str) -> list[str]:
    return [f',"{name}"' for name in names]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train.csv", labels_of(*"ab" * 6))
    write(tmp_path / "dev.csv", labels_of(*"ab" * 3))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "labels"), [("classification", "ab"), ("regression", "12"), ("multilabel", ["a", "a,b"])]
)
@pytest.mark.parametrize(("end", "header"), [("", "text"), (",", "text,label")], ids=["no column", "empty column"])
def test_a_test_file_without_labels_is_predicted_only(
    tmp_path: Path, tokenizer: Tokenizer, name: str, labels: Any, end: str, header: str
) -> None:
    for split in ("train", "dev"):
        write(tmp_path / f"{split}.csv", labels_of(*labels) * 3)
    write(tmp_path / "test.csv", [end] * 4, header=header)
    task = make_task(name, tmp_path)
    scored = score(task, tokenizer)
    split = task.prepare(tokenizer, 16)["test"]
    assert not split.is_labeled
    values = np.repeat(scores_of(scored)[:1], 4, axis=0)
    assert [set(line) for line in task.predictions(split, ExampleScores(values, np.arange(5)))] == [
        {"id", "prediction", "scores"}
    ] * 4
    assert scored.metrics


def scores_of(scored: Any) -> Any:
    return scored.scores.values


def test_files_to_train_and_validate_on_need_the_label(folder: Path, tokenizer: Tokenizer) -> None:
    write(folder / "dev.csv", [""] * 4, header="text")
    with pytest.raises(ValueError, match=r"^task\.label=label, but .*dev\.csv, line 2 has no column 'label'"):
        make_task("classification", folder).prepare(tokenizer, 16)


def test_a_class_may_be_held_out_with_all_its_examples(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """The classes are those of the whole file, whichever rows are drawn to validate on."""
    for row in range(12):
        labels = ["a", "b"] * 6
        labels[row] = "rare"
        task = make_task("classification", write(tmp_path / "one.csv", labels_of(*labels)))
        if "rare" in {example.label for example in task.prepare(tokenizer, 16)[VALIDATION].records}:
            break
    assert task.head().labels == ["a", "b", "rare"]
    weighed = make_task("classification", tmp_path / "one.csv", class_weights="balanced")
    with pytest.raises(ValueError, match=r"task\.class_weights=balanced, but no training example is rare"):
        weighed.prepare(tokenizer, 16)


def test_a_class_of_a_validation_file_alone_is_refused(folder: Path, tokenizer: Tokenizer) -> None:
    write(folder / "dev.csv", labels_of("a", "c"))
    with pytest.raises(ValueError, match=r"dev\.csv, line 3 has the label 'c', which is none of a, b"):
        make_task("classification", folder).prepare(tokenizer, 16)


@pytest.mark.parametrize("given", [None, ["toxic"]])
def test_a_set_may_be_of_one_class(tmp_path: Path, tokenizer: Tokenizer, given: list[str] | None) -> None:
    for split in ("train", "dev"):
        write(tmp_path / f"{split}.csv", labels_of("toxic", "", "toxic"))
    scored = score(make_task("multilabel", tmp_path, labels=given), tokenizer)
    assert scored.task.head().labels == ["toxic"]
    said = scored.with_scores(np.array([[1.0], [1.0], [-1.0]], dtype=np.float32))
    assert said.metrics == pytest.approx({"micro_f1": 0.5, "macro_f1": 0.5, "exact_match": 1 / 3})
    assert [line["prediction"] for line in said.predictions] == [["toxic"], ["toxic"], []]
    assert [line["label"] for line in said.predictions] == [["toxic"], [], ["toxic"]]
    errors = said.task.errors(said.split, said.scores)
    assert errors is not None
    assert [each["id"] for each in errors["worst"]] == ["1", "2"]


def test_labels_of_the_settings_are_spelled_as_those_of_tables(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [{"text": "alpha", "label": bool(row % 2)} for row in range(20)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = make_task("classification", tmp_path, labels=[False, True])
    task.prepare(tokenizer, 16)
    assert task.head().labels == ["false", "true"]
    with pytest.raises(ValueError, match=r"^task\.labels must be null or a list of names; got \[None, 'a'\]$"):
        make_task("classification", tmp_path, labels=[None, "a"])


def test_f1_of_one_class_against_the_other_needs_two_classes(folder: Path, tokenizer: Tokenizer) -> None:
    metrics = ["accuracy", "f1"]
    make_task("classification", folder, metrics=metrics).prepare(tokenizer, 16)
    write(folder / "train.csv", labels_of(*"abc" * 4))
    with pytest.raises(ValueError, match=r"^task\.metrics has f1, .*number of classes is 3: a, b, c; take macro_f1$"):
        make_task("classification", folder, metrics=metrics).prepare(tokenizer, 16)


def test_identifiers_are_of_one_row_each(folder: Path, tokenizer: Tokenizer) -> None:
    (folder / "dev.csv").write_text("id,text,label\n7,alpha,a\n8,beta,b\n7,gamma,a\n")
    (folder / "train.csv").write_text("id,text,label\n7,alpha,a\n8,beta,b\n")
    said = r"dev\.csv, line 4 has task\.identifier='7', which .*dev\.csv, line 2 has too$"
    with pytest.raises(ValueError, match=said):
        make_task("classification", folder, identifier="id").prepare(tokenizer, 16)


def test_a_submission_is_of_the_official_test_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Scores are those of the test file that was published with labels; its rows are of no use to the server."""
    folder = tmp_path / "SST-2"
    folder.mkdir()
    for name in ("train", "dev", "test-labeled"):
        (folder / f"{name}.tsv").write_text("sentence\tlabel\nalpha\t0\nomega\t1\n")
    (folder / "test.tsv").write_text("index\tsentence\n5\tbeta\n")
    task = glue_task("sst2", SplitFiles(tmp_path), ["accuracy"], "accuracy")
    splits = task.prepare(tokenizer, 16)
    assert {name: split.is_labeled for name, split in splits.items()} == {
        "train": True, "validation": True, "test": True, "official_test": False
    }  # fmt: skip
    for name in list(splits)[2:]:
        size = len(splits[name].records)
        scores = ExampleScores(np.zeros((size, 2), dtype=np.float32), np.arange(size + 1))
        task.write_files(splits[name], scores, tmp_path)
    assert (tmp_path / "SST-2.tsv").read_text() == "index\tprediction\n5\t0\n"
    (folder / "test-labeled.tsv").unlink()
    assert list(task.prepare(tokenizer, 16)) == ["train", "validation", "test"]
