"""Multiple choice as a task: predictions of the exported model in transformers, accuracy, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertForMultipleChoice

from bert_lightning.metrics.collected_scores import ExampleScores
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.finetuning.scored import make_task, score

TEXT, CHOICES = "The sky is", ["red today", "blue", "green as the sea is"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([TEXT, *CHOICES] * 3, vocab_size=100)


def row(number: int, **fields: Any) -> dict[str, Any]:
    choices = CHOICES[number % 3 :] + CHOICES[: number % 3]
    return {"text": f"{TEXT} {'very ' * (number % 4)}", "choices": choices, "label": number % 3} | fields


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train.jsonl", [row(number) for number in range(8)])
    write(tmp_path / "dev.jsonl", [row(number) for number in range(7)])
    return tmp_path


def test_the_exported_model_gives_the_same_predictions_in_transformers(folder: Path, tokenizer: Tokenizer) -> None:
    scored = score(make_task("multiple_choice", folder), tokenizer, export=folder / "hf")
    theirs = BertForMultipleChoice.from_pretrained(folder / "hf").eval()
    fast = AutoTokenizer.from_pretrained(folder / "hf")
    for question, line in zip(scored.split.records, scored.predictions, strict=True):
        inputs = fast([question.text] * 3, list(question.choices), padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = theirs(**{name: tensor[None] for name, tensor in inputs.items()}).logits[0]
        np.testing.assert_allclose(line["scores"], logits.numpy(), atol=1e-5)
        assert line["prediction"] == logits.argmax().item()
        assert line["label"] == question.label
    right = [line["prediction"] == line["label"] for line in scored.predictions]
    assert scored.metrics == {"accuracy": pytest.approx(sum(right) / 7)}


def test_files_without_labels_are_predicted_only(folder: Path, tokenizer: Tokenizer) -> None:
    header = "sent1,sent2,ending0,ending1,label\n"
    for name in ("train", "val"):
        (folder / f"{name}.csv").write_text(header + "The sky,is,red,blue,1\n")
    (folder / "test.csv").write_text(header.replace(",label", "") + "The sky,is,red,blue\n")
    write(folder / "test.jsonl", [{name: value for name, value in row(0).items() if name != "label"}])
    files = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
    of_lists = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"}
    for name, named, width in (("swag", files, 2), ("multiple_choice", of_lists, 3)):
        task = make_task(name, folder, **named)
        split = task.prepare(tokenizer, 48)["test"]
        assert not split.is_labeled
        (line,) = task.predictions(split, ExampleScores(np.zeros((width, 1), dtype=np.float32), np.arange(2)))
        assert set(line) == {"id", "prediction", "scores"}
    for label in ({"label": None}, {"label": ""}):
        write(folder / "test.jsonl", [row(0) | label])
        assert not make_task("multiple_choice", folder, **of_lists).prepare(tokenizer, 48)["test"].is_labeled
    write(folder / "test.jsonl", [row(0), row(1) | {"label": None}])
    with pytest.raises(ValueError, match=r"test\.jsonl, line 2 has no label, but other examples of the test split"):
        make_task("multiple_choice", folder, **of_lists).prepare(tokenizer, 48)
    (folder / "val.csv").write_text(header.replace(",label", "") + "The sky,is,red,blue\n")
    with pytest.raises(ValueError, match=r"val\.csv, line 2 has no label to validate on$"):
        make_task("swag", folder, **files).prepare(tokenizer, 48)


def test_other_numbers_of_choices_are_refused_across_files_too(folder: Path, tokenizer: Tokenizer) -> None:
    write(folder / "dev.jsonl", [row(0, choices=["a", "b", "c", "d"])])
    with pytest.raises(ValueError, match=r"dev\.jsonl, line 1 has 4 choices, but .*train\.jsonl, line 1 has 3"):
        make_task("multiple_choice", folder).prepare(tokenizer, 48)
    write(folder / "train.jsonl", [row(0), row(1, choices=["a", "b", "c", "d"])])
    with pytest.raises(ValueError, match=r"train\.jsonl, line 2 has 4 choices, but .*train\.jsonl, line 1 has 3"):
        make_task("multiple_choice", folder).prepare(tokenizer, 48)
    with pytest.raises(ValueError, match=r"task\.chosen_by must be accuracy; got f1"):
        make_task("codah", folder, chosen_by="f1")
    with pytest.raises(ValueError, match=r"task\.train=fold_3_train\.tsv is no file in "):
        make_task("codah", folder, fold=3).prepare(tokenizer, 48)
