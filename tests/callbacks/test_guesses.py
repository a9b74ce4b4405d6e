"""The table shows held-out sentences, what was masked, and what the head scores highest."""

import logging
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.callbacks.guesses import Guesses, sentence
from tests.training.test_datamodules import make_data


def test_rows_name_the_truth_that_the_scores_point_to(prepared: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    batch = next(iter(make_data(prepared, tmp_path).val_dataloader()))[0]
    mlm = batch.targets["mlm"]
    scores = torch.full((len(mlm.labels), tokenizer.get_vocab_size()), -50.0)
    scores[torch.arange(mlm.count), mlm.labels[: mlm.count].long()] = 50.0
    rows = Guesses(num_examples=3, top_k=1, num_masks=2)._rows(7, batch, scores, tokenizer)
    assert len(rows) == 3
    for step, text, truth, guesses in rows:
        assert step == 7
        assert text.startswith("[CLS]")
        assert text.endswith("[SEP]")
        pieces = truth.split(", ")
        assert len(pieces) == min(2, text.count("[MASK]"))
        assert guesses == "; ".join(f"{piece} 100%" for piece in pieces)


def test_pieces_are_joined(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("king unhappily", add_special_tokens=False).ids
    assert sentence(ids, tokenizer) == "king unhappily"


def test_a_run_writes_them_to_its_log(caplog: pytest.LogCaptureFixture, prepared: Path, tmp_path: Path) -> None:
    from tests.training.test_modules import fit, make_module, make_objective

    with caplog.at_level(logging.INFO, "bert_lightning"):
        fit(make_module(make_objective(prepared), 2), prepared, tmp_path, 2, callbacks=[Guesses(num_examples=2)])
    assert caplog.text.count("truth:") == 2
