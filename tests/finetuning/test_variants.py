"""A head on layers of a frozen encoder, and several ways to train one task in one table."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.evaluate import evaluate
from bert_lightning.export import export
from bert_lightning.models.layer_reading import LayerReading
from bert_lightning.predict import predict
from tests.finetuning.tiny_task import finetune_here, lines, settings
from tests.support.runs import compose_here
from tests.support.settings import Settings


@pytest.fixture
def tiny(tmp_path: Path, tokenizer: Tokenizer) -> Settings:
    return settings(tmp_path, tokenizer)


def test_a_head_on_two_layers_is_used_as_it_was_trained(
    tiny: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """bert-predict and bert-evaluate give what bert-finetune wrote; another task takes no pooler of two layers."""
    run = tmp_path / "runs" / "run"
    metrics = finetune_here(tiny | {"freeze": True, "layers": "[-2,-1]", "optimizer.lr": 3e-2})
    found, begin = load_pretrained(run), load_pretrained(str(tiny["checkpoint"]))
    assert found.state["pooler.dense.weight"].shape == (found.config.hidden_size, 2 * found.config.hidden_size)
    for name, tensor in begin.state_of("encoder").items():
        assert torch.equal(found.state_of("encoder")[name], tensor), name
    table = tmp_path / "texts" / "dev.tsv"
    output = tmp_path / "said.jsonl"
    predict(compose_here("predict", {"checkpoint": run, "input": table, "output": output}))
    assert [line["prediction"] for line in lines(output)] == [
        line["prediction"] for line in lines(run / "predictions.jsonl")
    ]
    scores = evaluate(compose_here("evaluate", {"checkpoint": run, "labeled.path": table}))
    assert scores["labeled"]["accuracy"] == pytest.approx(metrics["validation/accuracy"]["mean"])
    with pytest.raises(ValueError, match=r"the head reads the layers \[1, 2\], which no class of transformers does"):
        export(compose_here("export", {"checkpoint": run, "output_dir": tmp_path / "hf"}))
    assert not (tmp_path / "hf").exists()
    caplog.set_level("INFO")
    finetune_here(tiny | {"checkpoint": run, "run_name": "next", "trainer.max_steps": 1})
    assert "the checkpoint has no trained pooler; the task trains a new one" in caplog.text


VARIANTS = {
    "+variants.tuned.epochs": 1,
    "+variants.probe.freeze": True,
    "+variants.probe.layers": "[0,-2]",
    "+variants.probe.combine": "sum",
    "+variants.probe.epochs": 1,
}


def test_variants_are_trained_and_compared(tiny: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {name: value for name, value in tiny.items() if name != "epochs"} | VARIANTS
    results = finetune_here(given)
    run = tmp_path / "runs" / "run"
    assert list(results) == ["tuned", "probe"]
    assert json.loads((run / "variants.json").read_text()) == {"variants": results}
    for name, metrics in results.items():
        assert json.loads((run / name / "scores.json").read_text())["metrics"] == metrics
    head = load_pretrained(run / "probe").head
    assert head is not None
    assert head.reading == LayerReading([0, 1], "sum")
    printed = capsys.readouterr().out
    assert "validation/accuracy ┃ test/accuracy" in printed
    assert f"{results['probe']['validation/accuracy']['mean']:.4f}" in printed
    assert finetune_here(given | {"resume": "auto"}) == results


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"layers": "[-2]"}, r"layers=\[-2\] needs freeze=true: other layers are features of a frozen encoder"),
        ({"layers": "[7]", "freeze": True}, r"layers must be numbers from -3 to 2; got \[7\]"),
        ({"layers": 1, "freeze": True}, r"layers must be a list; got 1"),
        ({"layers": "[0]", "freeze": True, "combine": "max"}, r"combine must be one of concat, sum, mean; got max"),
        ({"variants": "probe"}, r"variants must be null, or settings by name; got 'probe'"),
        ({"+variants.probe": 3}, r"variants.probe must be a group of settings; got 3"),
        ({"+variants.one.epochs": 1, "+variants.two.layers": "[0]"}, r"layers=\[0\] needs freeze=true"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    tiny: Settings, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    """Also of the last variant, before the first one trains."""
    with pytest.raises(ValueError, match=message) as caught:
        finetune_here(tiny | more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()
