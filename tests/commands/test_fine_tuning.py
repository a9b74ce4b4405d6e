"""docs/fine-tuning.md: from raw text to a classifier, and a domain first; every line to copy is run, in its order."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from transformers import AutoTokenizer, BertForSequenceClassification

from bert_lightning.export import export
from bert_lightning.finetune import finetune
from bert_lightning.predict import predict
from bert_lightning.prepare import prepare
from bert_lightning.pretrain import pretrain
from bert_lightning.settings.typed_words import quoted
from tests.support.checkout import ROOT
from tests.support.configs import compose_config
from tests.support.texts import tiny_texts

PAGE = (ROOT / "docs" / "fine-tuning.md").read_text()
SIZES = ["model.hidden_size=64", "model.intermediate_size=64", "model.num_attention_heads=2"]
SHORT = ["trainer.max_steps=3", "trainer.accelerator=cpu", "logger=csv"]
"""What makes the lines short enough for a test; it comes after what they say."""
DOORS: dict[str, tuple[Callable[[DictConfig], object], list[str]]] = {
    "bert-prepare": (prepare, ["validation_fraction=0.2"]),
    "bert-pretrain": (
        pretrain,
        [
            *SHORT,
            *SIZES,
            "trainer.max_tokens=null",
            "data.global_batch_size=8",
            "data.micro_batch_size=8",
            "data.num_workers=0",
        ],
    ),
    "bert-finetune": (finetune, [*SHORT, "epochs=1"]),
    "bert-export": (export, []),
    "bert-predict": (predict, []),
}


def lines_of(heading: str) -> list[list[str]]:
    """Return the commands below a heading, each as its words."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    block = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


def run_lines(heading: str) -> None:
    for door, *words in lines_of(heading):
        function, shorter = DOORS[door]
        words = [re.sub(r"vocab_size=\d+", "vocab_size=120", quoted(word)) for word in words]
        function(compose_config(door.removeprefix("bert-"), [*words, *shorter]))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the text and the table that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    documents = ["\n".join(" ".join(words) for words in document) for document in tiny_texts(30, seed=0)]
    (tmp_path / "notes.txt").write_text("\n\n".join(documents) + "\n")
    (tmp_path / "reviews.txt").write_text("\n\n".join(documents[:10]) + "\n")
    rows = [f'"{document.splitlines()[0]}",{"good" if row % 2 else "bad"}' for row, document in enumerate(documents)]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *rows]) + "\n")
    return tmp_path


def test_raw_text_becomes_a_classifier_also_by_way_of_a_domain(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_lines("From raw text to a classifier")
    prediction = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert prediction["prediction"] in ("good", "bad")
    model = BertForSequenceClassification.from_pretrained(place / "stars-hf")
    assert sorted(model.config.label2id) == ["bad", "good"]
    inputs = AutoTokenizer.from_pretrained(place / "stars-hf")("What a charming film.", return_tensors="pt")
    assert model.config.id2label[int(model(**inputs).logits.argmax())] == prediction["prediction"]
    scores = json.loads((place / "outputs" / "stars" / "scores.json").read_text())
    assert scores["metrics"]["validation/accuracy"]["examples"] == 3
    run_lines("A domain first")
    assert (place / "outputs" / "adapted-stars" / "scores.json").exists()
