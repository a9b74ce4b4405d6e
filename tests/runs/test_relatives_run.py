"""Relatives of BERT train, go on, are read again, and are written as what they are."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from bert_lightning import load_encoder, pack_texts
from bert_lightning.export import export
from bert_lightning.settings.run_folder import RunFolder
from tests.support.runs import repeatable, run_here
from tests.support.settings import SIZES, Settings

SHORT: Settings = {
    "schedule": "constant",
    "trainer.log_every_n_steps": 1,
    "trainer.val_check_interval": 4,
    "callbacks.checkpoint.every_n_steps": 2,
}


@pytest.mark.parametrize(
    ("name", "changes", "kind"),
    [
        ("albert_base", {"model.embedding_size": 16}, "AlbertForMaskedLM"),
        ("modernbert_base", {"model.local_attention": 8}, "ModernBertForMaskedLM"),
        ("roberta_base", {}, "RobertaForMaskedLM"),
        ("bert_tiny", {"model.shared_parameters": "feed_forward"}, None),
    ],
)
def test_a_run_of_a_relative(name: str, changes: Settings, kind: str | None, base: Settings, tmp_path: Path) -> None:
    """The end of a run that went on from step 2 is that of the whole run, and the export computes the same."""
    sizes = {f"model.{size}": value for size, value in SIZES.items()}
    settings = base | SHORT | {"model": name} | sizes | changes
    run = RunFolder(tmp_path / "runs" / "a")
    run_here(settings | {"run_name": "a", "trainer.max_steps": 4})
    whole = repeatable(run.path)
    run_here(settings | {"run_name": "a", "trainer.max_steps": 4, "resume": run.checkpoint(2)})
    assert repeatable(run.path)[4] == whole[4]
    encoder, tokenizer = load_encoder(run.path)
    hidden = encoder(pack_texts(tokenizer, ["A man plays the guitar.", "Stocks fell."]))
    assert hidden.shape[1] == 32
    assert torch.isfinite(hidden).all()
    wanted = OmegaConf.create({"checkpoint": str(run.path), "output_dir": str(tmp_path / "hf")})
    if kind is None:
        with pytest.raises(ValueError, match=r"model\.shared_parameters=feed_forward, which BERT's classes"):
            export(wanted)
        assert not (tmp_path / "hf").exists()
        return
    assert json.loads((export(wanted) / "config.json").read_text())["architectures"] == [kind]
    again, tokenizer = load_encoder(tmp_path / "hf")
    found = again(pack_texts(tokenizer, ["A man plays the guitar.", "Stocks fell."]))
    assert torch.equal(found, hidden)
