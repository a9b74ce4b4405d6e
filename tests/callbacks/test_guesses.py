"""The tables show held-out examples, what was asked, and what the heads score highest."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from tokenizers import Tokenizer

from bert_lightning.callbacks.guesses import Guesses
from bert_lightning.metrics.guess_tables import PAIR_COLUMNS, TOKEN_COLUMNS, GuessTables, sentence
from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from tests.support.training import make_data


def test_rows_name_the_truth_that_the_scores_point_to(prepared: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    batch = next(iter(make_data(prepared, tmp_path).val_dataloader()))[0]
    mlm = batch.targets["mlm"]
    scores = torch.full((len(mlm.labels), tokenizer.get_vocab_size()), -50.0)
    scores[torch.arange(mlm.count), mlm.labels[: mlm.count].long()] = 50.0
    shown = GuessTables(tokenizer, num_examples=3, num_masks=2, top_k=1).sentences(batch, scores)
    assert len(shown) == 3
    for each in shown:
        assert each.text.startswith("[CLS]")
        assert each.text.endswith("[SEP]")
        assert [token.mask for token in each.tokens] == re.findall(r"\[MASK \d\]", each.text)
        assert len(each.tokens) == 2 or "[MASK]" not in each.text
        for token in each.tokens:
            assert token.guesses == f"{token.truth} 100%"
            assert token.probability == pytest.approx(1.0)


def test_pairs_are_told_by_their_segments_and_labels(prepared: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    batch = next(iter(make_data(prepared, tmp_path).val_dataloader()))[0]
    labels = batch.targets["nsp"].labels[: batch.num_examples].tolist()
    scores = torch.tensor([[0.0, 50.0]]).repeat(len(batch.targets["nsp"].labels), 1)
    rows = list(GuessTables(tokenizer, batch.num_examples, 2, 1).pairs(batch, "nsp", scores))
    assert [row[2] for row in rows] == [("next", "random")[label] for label in labels]
    assert {row[3] for row in rows} == {"random"}
    assert [round(row[4]) for row in rows] == labels
    for (first, second, *_), (begin, end) in zip(rows, GuessTables(tokenizer, 99, 2, 1)._spans(batch), strict=True):
        whole = sentence(batch.tokens.input_ids[begin:end].tolist(), tokenizer)
        joined = f"[CLS] {first} [SEP] {second} [SEP]".replace(" ##", "")
        assert whole.replace(" ", "") == joined.replace(" ", "")


def test_a_token_is_of_one_kind(tokenizer: Tokenizer) -> None:
    tables = GuessTables(tokenizer, 1, 1, 1)
    kinds = {token: tables.kind(number) for token, number in tokenizer.get_vocab().items()}
    assert kinds["unhappily"] == "word"
    assert kinds["##s"] == "piece"
    assert kinds["."] == "punctuation"
    assert kinds["[MASK]"] == "special"


def test_pieces_are_joined(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("king unhappily", add_special_tokens=False).ids
    assert sentence(ids, tokenizer) == "king unhappily"


def test_pieces_of_bytes_are_letters() -> None:
    text = "Der K\u00f6nig l\u00e4chelt, der K\u00f6nig schweigt."
    tokenizer = train_byte_bpe([text] * 3, 320)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    tables = GuessTables(tokenizer, 1, 1, 1)
    assert sentence(ids, tokenizer) == text
    assert "K\u00f6nig" in [tables.token(number) for number in ids]


class Tables(DummyLogger):
    """A logger that keeps tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, tuple[list[str], list[list[Any]]]] = {}

    def log_table(self, name: str, columns: list[str], data: list[list[Any]], step: int) -> None:
        assert all(row[0] == step for row in data)
        self.tables[name] = columns, data


def test_a_run_writes_them_to_its_log_and_its_tables(
    caplog: pytest.LogCaptureFixture, prepared: Path, tmp_path: Path
) -> None:
    from tests.support.training import fit, make_module, make_objective

    logger = Tables()
    with caplog.at_level(logging.INFO, "bert_lightning"):
        module = make_module(make_objective(prepared), 2)
        fit(module, prepared, tmp_path, 2, callbacks=[Guesses(num_examples=2)], logger=logger)
    said = [record.getMessage() for record in caplog.records if record.name == "bert_lightning.callbacks.guesses"]
    assert len(said) == 2
    for text, *lines in (message.splitlines() for message in said):
        assert len(lines) > 1
        asked = [re.match(r"    (\[MASK \d\]) is \S+; guesses: ", line) for line in lines]
        assert [each and each[1] for each in asked] == re.findall(r"\[MASK \d\]", text)
    columns, rows = logger.tables["guesses"]
    assert columns == list(TOKEN_COLUMNS)
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    columns, rows = logger.tables["pairs"]
    assert columns == list(PAIR_COLUMNS)
    assert len(rows) == 2


@pytest.mark.parametrize("name", ["num_examples", "top_k", "num_masks"])
def test_numbers_below_1_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^callbacks\.guesses\.{name} must be a whole number, at least 1; got 0$"):
        Guesses(**{name: 0})


@pytest.mark.parametrize("is_first", [True, False])
def test_more_guesses_than_entries_are_refused_on_every_rank(tokenizer: Tokenizer, is_first: bool) -> None:
    size = tokenizer.get_vocab_size()
    trainer = SimpleNamespace(datamodule=SimpleNamespace(tokenizer=tokenizer), is_global_zero=is_first)
    Guesses(top_k=size).setup(trainer, None, "fit")
    with pytest.raises(ValueError, match=rf"^callbacks\.guesses\.top_k={size + 1}, but .* has {size} entries$"):
        Guesses(top_k=size + 1).setup(trainer, None, "fit")
