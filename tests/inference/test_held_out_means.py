"""Held-out means against the examples that a run's own validation takes."""

from pathlib import Path

import pytest
import torch

from bert_lightning.inference.held_out_means import held_out_means
from bert_lightning.inference.loading import load_model
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from tests.support.checkpoints import config_for, write_checkpoint
from tests.support.corpora import prepare_two_sources
from tests.support.parity import losses
from tests.support.training import make_data


def test_a_sample_of_several_sources_is_that_of_the_runs_validation(tmp_path: Path) -> None:
    folder = prepare_two_sources(tmp_path)
    tokenizer = load_tokenizer(folder / "tokenizer")
    state = write_checkpoint(tmp_path / "run" / "checkpoints" / "step-0000007.ckpt", tokenizer, tmp_path / "tokenizer")
    objective = MaskedLMWithNSP(config_for(tokenizer)).eval()
    objective.load_state_dict(state)
    data = make_data(folder, tmp_path, seq_len=32, validation_samples=7)
    loader = data.val_dataloader()
    parts = [part for batches in loader for part in batches]
    with torch.inference_mode():
        total = sum(losses(objective, part)["mlm_loss"].item() for part in parts)
    means = held_out_means(load_model(tmp_path / "run", "cpu"), data._held_out_samples, 5, max_samples=7)
    assert len({loader.source_of(item) for item in range(len(loader))}) == 2
    assert means["examples"] == sum(part.num_examples for part in parts)
    assert means["mlm_loss"] == pytest.approx(total / sum(part.targets["mlm"].count for part in parts), rel=1e-5)
