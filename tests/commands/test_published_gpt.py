"""The published GPT-2, whose vocabulary has one special token, goes through the commands; GPT's is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2ForSequenceClassification

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.embed import embed
from bert_lightning.evaluate import evaluate
from bert_lightning.export import export
from bert_lightning.finetune import finetune
from bert_lightning.generate import generate
from bert_lightning.inference.continuing import Continuer
from bert_lightning.inference.loading import load_model
from bert_lightning.predict import predict
from data_pipeline.tokenizers.special_tokens import special_names, special_tokens
from tests.support.causal_models import END, write_published
from tests.support.runs import compose_here
from tests.support.settings import NO_DROPOUT, Settings

ROWS = [("fine king", 1), ("old queen", 0)] * 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_published(tmp_path / "gpt2")
    return tmp_path / "gpt2"


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    (tmp_path / "glue" / "SST-2").mkdir(parents=True)
    for split in ("train", "dev"):
        rows = [f"{text}\t{label}" for text, label in ROWS]
        (tmp_path / "glue" / "SST-2" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return tmp_path / "glue"


def asked(command: str, settings: Settings) -> Any:
    return compose_here(command, {"accelerator": "cpu"} | settings)


def test_one_token_begins_and_ends_a_text(folder: Path) -> None:
    tokenizer = load_pretrained(folder).tokenizer()
    assert special_names(tokenizer) == dict.fromkeys(("pad", "unk", "cls", "sep"), END)
    assert special_names(Tokenizer.from_str(tokenizer.to_str())) == special_names(tokenizer)
    end = tokenizer.get_vocab_size() - 1
    assert Continuer(load_model(folder, "cpu")).prompt("the king")[0] == end
    assert tokenizer.encode("the king").ids[0] == tokenizer.encode("the king").ids[-1] == end
    with pytest.raises(ValueError, match=r"^the vocabulary has no \[MASK\]; it is for causal models alone"):
        _ = special_tokens(tokenizer).mask


def test_it_is_asked_embedded_and_writes_on(
    folder: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(asked("generate", {"checkpoint": folder, "prompt": "the king", "max_new_tokens": 5}))
    assert capsys.readouterr().out.startswith("the king")
    output = tmp_path / "vectors.npy"
    embed(asked("embed", {"checkpoint": folder, "text": "the king", "output": output}))
    assert np.load(output).shape == (1, 32)
    task = {"task": "sst2", "task.path": glue, "prompting.shots": "[0,1]"}
    prompted = evaluate(asked("evaluate", task | {"checkpoint": folder}))["prompted"]
    assert prompted["examples"] == len(ROWS)


def test_an_export_has_the_same_roles_and_stops_at_the_end(folder: Path, tmp_path: Path) -> None:
    export(compose_here("export", {"checkpoint": folder, "output_dir": tmp_path / "again"}))
    before, after = (load_pretrained(each) for each in (folder, tmp_path / "again"))
    assert special_names(after.tokenizer()) == special_names(before.tokenizer())
    end = before.tokenizer().get_vocab_size() - 1
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert [config[f"{each}_token_id"] for each in ("bos", "eos", "pad")] == [end] * 3


def test_a_classifier_comes_of_it_which_transformers_reads_alike(folder: Path, glue: Path, tmp_path: Path) -> None:
    """There the padding could not be told from the extract token, so the export names none."""
    run = {"checkpoint": folder, "output_dir": tmp_path / "runs", "run_name": "run", "logger": "csv"}
    sizes = {"data.seq_len": 32, "data.global_batch_size": 4, "epochs": 4, "optimizer.lr": 1e-2}
    machine = {"trainer.accelerator": "cpu", "trainer.precision": "32-true", "callbacks.report": "null"}
    task = {"task": "sst2", "task.path": glue, "callbacks.throughput.peak_flops": 1e12}
    scores = finetune(compose_here("finetune", NO_DROPOUT | run | sizes | machine | task))
    assert scores["validation/accuracy"]["mean"] == 1
    export(compose_here("export", {"checkpoint": tmp_path / "runs" / "run", "output_dir": tmp_path / "hf"}))
    model = GPT2ForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    for place in (tmp_path / "runs" / "run", tmp_path / "hf"):
        text = {"input": glue / "SST-2" / "dev.tsv", "column": "sentence", "output": tmp_path / "out.jsonl"}
        predict(asked("predict", text | {"checkpoint": place}))
        found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        for (sentence, _), line in zip(ROWS[:2], found, strict=False):
            with torch.no_grad():
                expected = model(**tokenizer(sentence, return_tensors="pt")).logits.softmax(-1)[0]
            torch.testing.assert_close(torch.tensor(list(line["probabilities"].values())), expected, atol=1e-5, rtol=0)


def test_a_vocabulary_without_an_end_is_refused_by_name(tmp_path: Path) -> None:
    """GPT's has <unk> alone."""
    write_published(tmp_path, "openai-gpt")
    text = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text.replace(END, "<unk>"))
    said = r"^the vocabulary has no \[PAD\], \[CLS\], \[SEP\], .*a causal model one that ends a text, such as "
    with pytest.raises(ValueError, match=said):
        load_model(tmp_path, "cpu")
