"""The commands that a finished command proposes: each works as it stands, for every kind of model."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import nn

from bert_lightning.checkpoints.checkpoint import checkpoint_payload, load_pretrained
from bert_lightning.checkpoints.next_commands import after_training
from bert_lightning.checkpoints.task_head import PROBLEM_TYPES, TaskHead
from bert_lightning.embed import embed
from bert_lightning.evaluate import evaluate
from bert_lightning.export import export
from bert_lightning.fill_mask import fill_mask
from bert_lightning.generate import generate
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.knowledge.entity_vectors import EntityVectors
from bert_lightning.models.layer_reading import LayerReading
from bert_lightning.objectives.causal_lm import CausalLM
from bert_lightning.objectives.entity_denoising import EntityDenoising
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.replaced_tokens import ReplacedTokens
from bert_lightning.predict import predict
from bert_lightning.settings.typed_words import quoted
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.configs import compose_config
from tests.support.models import tiny_encoder
from tests.support.parity import random_weights

RUNS_HERE = {"embed": embed, "evaluate": evaluate, "export": export, "fill_mask": fill_mask, "generate": generate}
RUNS_HERE |= {"predict": predict}
GPT = {"is_causal": True, "type_vocab_size": 0, "norm": "pre", "embedding_norm": False}
TEXTS = TaskHead("sequence_classification", ["bad", "good"], PROBLEM_TYPES[0])


@dataclass(frozen=True)
class Kind:
    """A kind of model, and the commands that are proposed after its training and its export."""

    trained: list[str]
    exported: list[str]
    objective: Callable[[EncoderConfig], nn.Module] = Encoder
    leaves_out: str = "nothing"
    sizes: dict[str, Any] = field(default_factory=dict)
    head: TaskHead | None = None
    task: dict[str, Any] = field(default_factory=dict)


def entity_denoising(config: EncoderConfig) -> EntityDenoising:
    """Return an objective with two entities."""
    return EntityDenoising(config, EntityVectors([[0.0, 1.0], [1.0, 0.0]], "0" * 64), entity_heads=2)


PREDICTS = {"trained": ["predict", "export"], "exported": ["predict"]}
FILLS = {"trained": ["fill_mask", "finetune", "export"], "exported": ["fill_mask", "evaluate"]}
KINDS = {
    "masked words and next sentences": Kind(**FILLS, objective=MaskedLMWithNSP),
    "masked words": Kind(**FILLS, objective=MaskedLM),
    "masked words and entities": Kind(**FILLS, objective=entity_denoising),
    "causal": Kind(["generate", "finetune", "export"], ["generate", "evaluate"], CausalLM, sizes=GPT),
    "causal, as no class is": Kind(["generate", "finetune"], [], CausalLM, sizes={"is_causal": True}),
    "replaced tokens": Kind(["fill_mask", "finetune", "export"], ["fill_mask", "finetune"], ReplacedTokens),
    "encoder": Kind(["embed", "finetune", "export"], ["embed", "finetune"]),
    "pairs": Kind(["predict", "finetune", "export"], ["predict", "finetune"], MaskedLMWithNSP, "mlm_head"),
    "classifier": Kind(**PREDICTS, head=TEXTS),
    "classifier of pairs": Kind(**PREDICTS, head=TEXTS, task={"text_pair": "second"}),
    "tagger": Kind(**PREDICTS, head=TaskHead("token_classification", ["O", "B-PER"])),
    "questions": Kind(**PREDICTS, head=TaskHead("question_answering")),
    "choices": Kind(**PREDICTS, head=TaskHead("multiple_choice")),
    "causal, of pairs": Kind(
        ["predict"], [], sizes=GPT, head=TaskHead(TEXTS.kind, TEXTS.labels, TEXTS.problem_type, extract="both_orders")
    ),
    "features": Kind(
        ["predict"], [], head=TaskHead("token_classification", ["O", "B-PER"], reading=LayerReading([0, 1]))
    ),
}


def write_run(folder: Path, kind: Kind, tokenizer: Tokenizer, settings: dict[str, Any]) -> None:
    """Write the folder of a run with one checkpoint."""
    config = tiny_encoder(tokenizer.get_vocab_size(), **kind.sizes)
    objective = random_weights(kind.objective(config))
    state = {f"encoder.{name}": tensor for name, tensor in objective.state_dict().items()}
    if kind.objective is not Encoder:
        state = {name: tensor for name, tensor in objective.state_dict().items() if kind.leaves_out not in name}
    shapes = kind.head.shapes(config) if kind.head is not None else {}
    state |= {name: torch.randn(shape) for name, shape in shapes.items() if "answerability" not in name}
    content = {"state_dict": {f"objective.{name}": tensor for name, tensor in state.items()}, "global_step": 7}
    (folder / "checkpoints").mkdir(parents=True)
    payload = checkpoint_payload(config, tokenizer_files(tokenizer), settings, kind.head)
    torch.save(content | payload, folder / "checkpoints" / "step-0000007.ckpt")


def names_of(lines: list[str]) -> list[str]:
    """The commands of some lines."""
    return [line.split()[0].removeprefix("bert-").replace("-", "_") for line in lines]


def type_in(line: str, *more: str) -> None:
    """Run a line as a shell passes it on; bert-finetune, whose task the user chooses, is left out."""
    words = [quoted(word) for word in shlex.split(line)[1:]]
    (command,) = names_of([line])
    if command != "finetune":
        RUNS_HERE[command](compose_config(command, [*words, *more]))


@pytest.mark.parametrize("name", KINDS)
def test_proposed_commands_work(
    name: str,
    tmp_path: Path,
    tokenizer: Tokenizer,
    prepared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = KINDS[name]
    monkeypatch.chdir(tmp_path)
    run = Path("a run")
    write_run(run, kind, tokenizer, {"data": {"path": str(prepared), "seq_len": 48}, "task": kind.task})
    lines = after_training(load_pretrained(run), run)
    assert names_of(lines) == kind.trained
    assert all("text_pair=" in line for line in lines[:1]) == ("pairs" in name)
    capsys.readouterr()
    for line in lines:
        type_in(line)
    exported = capsys.readouterr().out.partition("next: ")[2].strip().splitlines()
    assert names_of(exported) == kind.exported
    for line in exported:
        type_in(line, *(["data.validation_samples=8"] if "bert-evaluate" in line else []))
