"""Tagging as a task: predictions of the exported model in transformers, metrics over entities, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForTokenClassification, AutoTokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.finetuning.scored import Scored, make_task, score
from tests.support.models import GPT2

SENTENCES = [
    "Duke/B-PER Berthold/I-PER founded/O Bern/B-LOC ./O",
    "It/O lies/O on/O the/O Aare/B-LOC ./O",
    "Bern/B-LOC",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([sentence.replace("/", " ") for sentence in SENTENCES] * 3, vocab_size=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = "\n\n".join(sentence.replace(" ", "\n").replace("/", "\t") for sentence in SENTENCES)
    for name in ("train.conll", "dev.conll"):
        (tmp_path / name).write_text(lines)
    return tmp_path


@pytest.mark.parametrize("sizes", [{}, GPT2], ids=["BERT", "GPT-2"])
def test_the_exported_model_gives_the_same_predictions_in_transformers(
    folder: Path, tokenizer: Tokenizer, sizes: dict[str, Any]
) -> None:
    """Sentences of the size of the window and longer ones: here a window has ten tokens, and all fit."""
    scored = score(make_task("ner", folder), tokenizer, export=folder / "hf", sizes=sizes)
    theirs = AutoModelForTokenClassification.from_pretrained(folder / "hf").eval()
    assert load_pretrained(folder / "hf").head == scored.task.head()
    assert theirs.config.id2label == dict(enumerate(["O", "B-LOC", "B-PER", "I-PER"]))
    fast = AutoTokenizer.from_pretrained(folder / "hf")
    for sentence, line in zip(scored.split.records, scored.predictions, strict=True):
        inputs = fast(list(sentence.words), is_split_into_words=True, return_tensors="pt")
        words = inputs.word_ids()
        first = [words.index(number) for number in range(len(sentence.words))]
        with torch.no_grad():
            logits = theirs(inputs["input_ids"]).logits[0, first]
        np.testing.assert_allclose(line["scores"], logits.numpy(), atol=1e-4)
        assert line["prediction"] == [theirs.config.id2label[n] for n in logits.argmax(-1).tolist()]
        assert (line["words"], line["label"]) == (sentence.words, sentence.tags)


def saying(scored: Scored, *tags: str) -> Scored:
    """Scores that say these tags, one a word."""
    names = scored.task.head().labels
    values = np.zeros((len(tags), len(names)), dtype=np.float32)
    values[np.arange(len(tags)), [names.index(tag) for tag in tags]] = 1.0
    return scored.with_scores(values)


def test_metrics_over_entities_and_words(folder: Path, tokenizer: Tokenizer) -> None:
    """Two of four entities are found, one is cut short and one is missing: P 2/3, R 1/2, F1 4/7; 10 words of 12."""
    scored = score(make_task("ner", folder), tokenizer)
    said = saying(scored, "B-PER", "O", "O", "B-LOC", "O", *["O"] * 4, "O", "O", "B-LOC")
    assert said.metrics == pytest.approx({"f1": 4 / 7, "precision": 2 / 3, "recall": 0.5, "accuracy": 10 / 12})
    assert said.predictions[1]["prediction"] == ["O"] * 6


def test_parts_of_speech_are_counted_by_word(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [{"words": ["Bern", "lies"], "tags": ["PROPN", "VERB"]}, {"words": ["it"], "tags": ["PRON"]}]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scored = saying(score(make_task("tagging", tmp_path), tokenizer), "PROPN", "PRON", "PRON")
    assert scored.metrics == {"accuracy": pytest.approx(2 / 3)}


def test_a_test_file_without_tags_is_predicted_only(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for name, row in (("train", {"tags": ["A", "B"]}), ("dev", {"tags": ["B", "A"]}), ("test", {})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"words": ["Bern", "lies"]} | row))
    splits = make_task("tagging", tmp_path).prepare(tokenizer, 48)
    assert {name: split.is_labeled for name, split in splits.items()} == {
        "train": True, "validation": True, "test": False
    }  # fmt: skip
    for empty in ({"tags": None}, {"tags": []}):
        (tmp_path / "test.jsonl").write_text(json.dumps({"words": ["Bern", "lies"]} | empty))
        assert not make_task("tagging", tmp_path).prepare(tokenizer, 48)["test"].is_labeled
    (tmp_path / "dev.jsonl").write_text(json.dumps({"words": ["Bern", "lies"]}))
    with pytest.raises(ValueError, match=r"dev\.jsonl, line 1 has no column 'tags'"):
        make_task("tagging", tmp_path).prepare(tokenizer, 48)


def test_a_tag_may_be_held_out_with_all_its_sentences(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for row in range(12):
        tags = ["A", "B"] * 6
        tags[row] = "RARE"
        lines = [json.dumps({"words": ["Bern"], "tags": [tag]}) for tag in tags]
        (tmp_path / "one.jsonl").write_text("\n".join(lines))
        task = make_task("tagging", tmp_path / "one.jsonl", labels=None)
        if ("RARE",) in [each.tags for each in task.prepare(tokenizer, 48)["validation"].records]:
            break
    assert task.head().labels == ["A", "B", "RARE"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["f2"]}, r"task\.metrics must be some of accuracy, f1, precision, recall; got f2"),
        ({"chosen_by": "f2"}, r"task\.chosen_by must be one of task\.metrics=f1, precision, recall, accuracy; got f2"),
        ({"labels": ["O", "B-LOC"]}, r"train\.conll, line 1 has the tag 'B-PER', which is none of O, B-LOC"),
        ({"tag_column": 2}, r"task\.tag_column=2, but .*train\.conll, line 1 has 2 columns"),
        ({"tag_column": 0}, r"train\.conll has the tag '.*'; tags of entities are O, or B-"),
        ({"validation": "no.conll"}, r"task\.validation=no\.conll is no file in "),
    ],
)
def test_what_is_refused(folder: Path, tokenizer: Tokenizer, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task("ner", folder, **settings).prepare(tokenizer, 48)


def test_a_tag_that_training_never_saw_is_refused(folder: Path, tokenizer: Tokenizer) -> None:
    (folder / "dev.conll").write_text("Bern\tB-GPE\n")
    with pytest.raises(ValueError, match=r"dev\.conll, line 1 has the tag 'B-GPE', which is none of O, B-LOC"):
        make_task("ner", folder).prepare(tokenizer, 48)
