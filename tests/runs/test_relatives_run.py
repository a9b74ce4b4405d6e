"""Relatives of BERT train, go on, are read again, and are not written as what they are not."""

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
    ("name", "changes", "said"),
    [
        ("albert_base", {"model.embedding_size": 16}, "model.embedding_size=16, model.shared_parameters=all"),
        ("modernbert_base", {"model.local_attention": 8}, "model.positions=rotary"),
        ("bert_tiny", {"model.shared_parameters": "feed_forward"}, "model.shared_parameters=feed_forward"),
    ],
)
def test_a_run_of_a_relative(name: str, changes: Settings, said: str, base: Settings, tmp_path: Path) -> None:
    """The end of a run that went on from step 2 is that of the whole run."""
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
    with pytest.raises(ValueError, match=f"the encoder has .*{said}.*, which BERT's classes in transformers"):
        export(OmegaConf.create({"checkpoint": str(run.path), "output_dir": str(tmp_path / "hf")}))
    assert not (tmp_path / "hf").exists()
