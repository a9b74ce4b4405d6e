"""docs/using-an-encoder.md: every line to copy is run, in its order."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMultipleChoice, BertForQuestionAnswering, BertForSequenceClassification

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.embed import embed
from bert_lightning.evaluate import evaluate
from bert_lightning.predict import predict
from bert_lightning.settings.typed_words import quoted
from data_pipeline.tokenizers.transformers_files import save_tokenizer, tokenizer_files
from tests.support.checkout import ROOT
from tests.support.checkpoints import config_for, write_checkpoint
from tests.support.configs import compose_config
from tests.support.models import tiny_encoder
from tests.support.parity import our_model, reference_model

PAGE = (ROOT / "docs" / "using-an-encoder.md").read_text()
BLOCKS = re.findall(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)", PAGE)
DOORS: dict[str, Callable[[DictConfig], object]] = {
    "bert-embed": embed,
    "bert-evaluate": evaluate,
    "bert-predict": predict,
}


@pytest.fixture
def place(tmp_path: Path, prepared: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the page speaks of: a run, its export, a fine-tuned model, prepared data, and small files."""
    config = tiny_encoder(tokenizer.get_vocab_size(), num_hidden_layers=4, max_position_embeddings=128)
    state = our_model(reference_model(config), config).state_dict()
    (tmp_path / "first-hf").mkdir()
    write_folder(tmp_path / "first-hf", config, state, tokenizer_files(tokenizer))
    run = tmp_path / "outputs" / "first" / "checkpoints" / "step-0000007.ckpt"
    write_checkpoint(run, tokenizer, tmp_path / "tokenizer")
    content = torch.load(run, weights_only=True)
    content["bert_lightning"]["model"] = load_pretrained(tmp_path / "first-hf").config.as_dict()
    content["state_dict"] = {f"objective.{name}": tensor for name, tensor in state.items()}
    torch.save(content, run)
    names = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    stars = BertForSequenceClassification(BertConfig(**config_for(tokenizer).as_dict(), **names))
    stars.save_pretrained(tmp_path / "outputs" / "stars")
    save_tokenizer(tokenizer, tmp_path / "outputs" / "stars")
    for name, kind in (("squad", BertForQuestionAnswering), ("swag", BertForMultipleChoice)):
        kind(BertConfig(**config_for(tokenizer).as_dict())).save_pretrained(tmp_path / "outputs" / name)
        save_tokenizer(tokenizer, tmp_path / "outputs" / name)
    question = {"id": "q", "question": "Who walks?", "answers": [{"text": "the king", "answer_start": 0}]}
    paragraph = {"context": "the king walks", "qas": [question]}
    (tmp_path / "dev-v1.1.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    (tmp_path / "data").symlink_to(prepared)
    (tmp_path / "reviews.csv").write_text('stars,review\ngood,"Slowly, the king walks."\nbad,The old house.\n')
    (tmp_path / "sentences.txt").write_text("The bank of the river.\nShe walks to the bank.\n")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"sentence_good": "it walks", "sentence_bad": "it walk"}) + "\n")
    (tmp_path / "questions.jsonl").write_text(json.dumps({"text": "the old [MASK]", "answer": "house"}) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_line_of_the_page_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variables: dict[str, object] = {}
    ran = []
    for block in BLOCKS:
        lines = [line.removeprefix("    ") for line in block.splitlines()]
        if lines[0].startswith(("from ", "import ")):
            exec("\n".join(lines), variables)
        elif lines[0].startswith("bert-"):
            for door, *arguments in map(shlex.split, lines):
                DOORS[door](compose_config(door.removeprefix("bert-"), list(map(quoted, arguments))))
                ran.append(door)
        else:
            assert set(json.loads(lines[0])) == {"id", "prediction", "probabilities"}
    assert set(ran) == set(DOORS)
    assert [len(vector) for vector in variables["vectors"]] == [32, 32]  # type: ignore[attr-defined]
    assert -1 <= variables["similarity"] < 0.9999  # type: ignore[operator]
    assert np.load("four-layers.npy", allow_pickle=False).shape == (2, 4 * 32)
    assert np.load("reviews.npy", allow_pickle=False).shape == (2, 32)
    assert set(json.loads((place / "scores.json").read_text())) == {"checkpoint", "held_out"}
    lines = (place / "predictions.jsonl").read_text().splitlines()
    assert {json.loads(line)["prediction"] for line in lines} <= {"bad", "good"}
    (answer,) = (place / "answers.jsonl").read_text().splitlines()
    assert json.loads(answer)["prediction"] in "the king walks"
    printed = capsys.readouterr().out
    assert '"is_next"' in printed
    assert '"null_odds"' in printed
    assert '"choice": "He walks in."' in printed or '"choice": "The door is blue."' in printed
