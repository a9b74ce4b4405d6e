"""Checkpoints of the tiny model, as bert-pretrain writes them."""

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.distributed import checkpoint as sharded_checkpoint

from bert_lightning.checkpoints.checkpoint import checkpoint_payload
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.objective import Objective
from data_pipeline.tokenizers.tokenizer_files import read_tokenizer_files
from data_pipeline.tokenizers.transformers_files import save_tokenizer
from tests.support.parity import CONFIG, our_model, reference_model


def config_for(tokenizer: Tokenizer) -> EncoderConfig:
    """The sizes of the tests' model for the tests' tokenizer."""
    return replace(CONFIG, vocab_size=tokenizer.get_vocab_size())


def write_checkpoint(
    path: Path, tokenizer: Tokenizer, folder: Path, objective: type[Objective] = MaskedLMWithNSP
) -> dict[str, Tensor]:
    """Write what bert-pretrain writes, without an optimizer; return the objective's state."""
    content, extra, state = checkpoint_content(tokenizer, folder, objective)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**content, **extra}, path)
    return state


def write_sharded_checkpoint(path: Path, tokenizer: Tokenizer, folder: Path) -> dict[str, Tensor]:
    """Write what bert-pretrain writes with strategy=fsdp: tensors in shards, everything else in meta.pt."""
    content, extra, state = checkpoint_content(tokenizer, folder)
    tensors = {"state_dict": content.pop("state_dict")}
    sharded_checkpoint.save(tensors, checkpoint_id=path, no_dist=True)
    torch.save({**content, **extra}, path / "meta.pt")
    return state


def checkpoint_content(
    tokenizer: Tokenizer, folder: Path, objective: type[Objective] = MaskedLMWithNSP
) -> tuple[dict[str, object], dict[str, object], dict[str, Tensor]]:
    """Lightning's entries, ours, and the state of the objective."""
    save_tokenizer(tokenizer, folder)
    config = config_for(tokenizer)
    model = objective(config)
    model.load_state_dict(our_model(reference_model(config), config).state_dict(), strict=False)
    state = model.state_dict()
    content = {"state_dict": {f"objective.{name}": tensor for name, tensor in state.items()}, "global_step": 7}
    return content, checkpoint_payload(config, read_tokenizer_files(folder), {"seed": 1}), state


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same tensors under the same names, bit by bit."""
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
