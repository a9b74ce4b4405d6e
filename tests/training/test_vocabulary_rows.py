"""Weights for another vocabulary: every token keeps its row, whatever its id, and only new tokens begin anew."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import Pretrained, load_pretrained
from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.settings.run_plan import plan_run
from bert_lightning.training.starting_point import start_from
from data_pipeline.tokenizers.special_tokens import SPECIAL_TOKENS
from data_pipeline.tokenizers.tokenizer import load_tokenizer, train_wordpiece
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.checkpoints import config_for
from tests.support.runs import compose_here
from tests.support.settings import TINY
from tests.support.texts import tiny_texts, write_prepared

TABLE, BIAS = "encoder.embeddings.token.weight", "mlm_head.bias"


def model_of(tokenizer: Tokenizer, rows: int | None = None) -> Pretrained:
    """A model whose every row of the vocabulary is known by its number."""
    config = config_for(tokenizer)
    config = replace(config, vocab_size=rows or config.vocab_size)
    state = MaskedLMWithNSP(config).state_dict()
    numbers = torch.arange(1, config.padded_vocab_size + 1, dtype=torch.float32)
    state[TABLE] = numbers[:, None].expand_as(state[TABLE]).clone()
    state[TABLE][config.vocab_size :] = 0
    state[BIAS] = numbers[: config.vocab_size].clone()
    return Pretrained(config, state, tokenizer_files(tokenizer))


def started(pretrained: Pretrained, tokenizer: Tokenizer) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the tensors of a model of a tokenizer, before and after it took the weights of another."""
    objective = MaskedLMWithNSP(config_for(tokenizer))
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    start_from(objective, pretrained, tokenizer)
    return before, objective.state_dict()


def with_vocabulary(tmp_path: Path, tokens: list[str]) -> Tokenizer:
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n")
    return load_tokenizer(tmp_path / "vocab.txt")


def tokens_of(tokenizer: Tokenizer) -> list[str]:
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def test_the_same_vocabulary_takes_every_row_and_says_nothing(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    pretrained = model_of(tokenizer)
    with caplog.at_level(logging.INFO):
        _, state = started(pretrained, tokenizer)
    assert all(torch.equal(state[name], pretrained.state[name]) for name in state)
    assert not caplog.text


def test_tokens_more_begin_anew_and_the_others_keep_their_rows(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    size = tokenizer.get_vocab_size()
    more = Tokenizer.from_str(tokenizer.to_str())
    more.add_special_tokens(["[ANON]"])
    more.add_tokens(["dragons"])
    with caplog.at_level(logging.INFO):
        before, state = started(model_of(tokenizer), more)
    assert state[TABLE][:size, 0].tolist() == list(range(1, size + 1))
    assert torch.equal(state[TABLE][size:], before[TABLE][size:])
    assert state[TABLE][size : size + 2].abs().min() > 0  # drawn
    assert state[BIAS][size:].tolist() == [0, 0]
    assert (
        f"the rows of {size} tokens are taken by name, 2 tokens begin with new weights: [ANON], dragons" in caplog.text
    )


def test_an_entry_that_was_replaced_begins_anew(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokens = tokens_of(tokenizer)
    given = with_vocabulary(tmp_path, [*tokens[:5], "[unused1]", *tokens[5:]])
    changed = with_vocabulary(tmp_path, [*tokens[:5], "dragon", *tokens[5:]])
    before, state = started(model_of(given), changed)
    assert state[TABLE][:, 0].tolist()[:5] == [1, 2, 3, 4, 5]
    assert state[TABLE][6 : len(tokens) + 1, 0].tolist() == list(range(7, len(tokens) + 2))
    assert torch.equal(state[TABLE][5], before[TABLE][5])


def test_tokens_are_found_whatever_their_order_and_roles_whatever_their_names(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokens = tokens_of(tokenizer)
    roberta = dict(zip(SPECIAL_TOKENS.values(), ["<pad>", "<unk>", "<s>", "</s>", "<mask>"], strict=True))
    mixed = with_vocabulary(tmp_path, [roberta.get(token, token) for token in reversed(tokens)])
    _, state = started(model_of(tokenizer), mixed)
    assert state[TABLE][: len(tokens), 0].tolist() == list(range(len(tokens), 0, -1))
    assert state[BIAS].tolist() == list(range(len(tokens), 0, -1))


def test_rows_beyond_the_vocabulary_are_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Published tables are padded, such as 30,528 rows for 30,522 tokens."""
    pretrained = model_of(tokenizer, rows=tokenizer.get_vocab_size() + 6)
    write_folder(tmp_path, pretrained.config, pretrained.state, pretrained.tokenizer_files)
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == tokenizer.get_vocab_size() + 6
    _, state = started(load_pretrained(tmp_path), tokenizer)
    size = tokenizer.get_vocab_size()
    assert state[TABLE][:size, 0].tolist() == list(range(1, size + 1))
    assert not state[TABLE][size:].any()
    assert state[BIAS].tolist() == list(range(1, size + 1))


def test_a_vocabulary_with_little_in_common_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    other = with_vocabulary(tmp_path, [*SPECIAL_TOKENS.values(), *(f"word{number}" for number in range(20))])
    with pytest.raises(ValueError, match=r"init_from has another vocabulary .*: they share 5 of 25 tokens; prepare"):
        started(model_of(tokenizer), other)


def test_the_padding_of_a_model_is_that_of_its_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokens = tokens_of(tokenizer)
    moved = with_vocabulary(tmp_path, [*tokens[1:], tokens[0]])
    folder = write_prepared(tmp_path / "data", moved, [tiny_texts(20)], tiny_texts(4, seed=1))
    plan = plan_run(compose_here("pretrain", TINY | {"data.path": folder, "output_dir": tmp_path}), False)
    assert plan.settings.model.pad_token_id == len(tokens) - 1


def test_trained_words_have_no_row_of_padding() -> None:
    """The row of zeros is that of [PAD], not that of the token with the id 0."""
    tokenizer = train_wordpiece([" ".join(document) for document in tiny_texts(20)], 100)
    table = MaskedLMWithNSP(replace(config_for(tokenizer), pad_token_id=7)).state_dict()[TABLE]
    assert [index for index in range(tokenizer.get_vocab_size()) if not table[index].any()] == [7]
