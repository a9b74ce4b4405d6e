"""The next token, against transformers' GPT-2 and GPT, both ways."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel, PreTrainedModel

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import architecture, from_huggingface, to_config_json, write_folder
from bert_lightning.checkpoints.huggingface.families import FAMILIES
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.causal_lm import CausalLM, unmasked
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.models import GPT as GPT_TRAITS
from tests.support.models import GPT2 as GPT2_TRAITS
from tests.support.parity import (
    CONFIG,
    assert_rounds_as_well,
    bf16_errors,
    one_by_one,
    packed_examples,
    padded,
    random_weights,
)

SIZES = {"vocab_size": 101, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 40}
DROPOUTS = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
GPT2 = replace(CONFIG, **GPT2_TRAITS)
GPT = replace(CONFIG, **GPT_TRAITS, hidden_act="gelu_new", intermediate_size=128)
MODELS = {
    "gpt2": (GPT2, lambda: GPT2LMHeadModel(GPT2Config(**SIZES, **DROPOUTS, n_inner=64, attn_implementation="eager"))),
    "openai-gpt": (GPT, lambda: OpenAIGPTLMHeadModel(OpenAIGPTConfig(**SIZES, **DROPOUTS))),
}
each_model = pytest.mark.parametrize("name", MODELS)


def original(batch: PackedBatch) -> torch.Tensor:
    """The rows of a batch before they were masked."""
    rows = padded(batch)
    return torch.where(rows.labels == -100, rows.input_ids, rows.labels)


def theirs(name: str) -> PreTrainedModel:
    return random_weights(MODELS[name][1]())  # type: ignore[return-value]


@each_model
def test_losses_and_gradients_are_those_of_the_class(name: str, tmp_path: Path) -> None:
    config, model, batch = MODELS[name][0], theirs(name), packed_examples()
    model.save_pretrained(tmp_path)
    pretrained = load_pretrained(tmp_path)
    assert pretrained.config == config
    ours = CausalLM(config)
    ours.load_state_dict(pretrained.state, strict=True)
    rows, ids = padded(batch), original(batch)
    labels = ids.masked_fill(rows.attention_mask == 0, -100)
    found = model(input_ids=ids, attention_mask=rows.attention_mask, labels=labels)
    loss = ours(batch)["causal_loss"] / ours.counts(batch)["causal_loss"]
    torch.testing.assert_close(loss, found.loss, atol=1e-5, rtol=0)
    right = (found.logits.argmax(-1)[:, :-1] == labels[:, 1:]).sum()
    assert ours(batch)["causal_accuracy"] == right
    found.loss.backward()
    loss.backward()
    family = next(family for family in FAMILIES if family.model_type == name)
    given = {name: p.grad for name, p in model.named_parameters()}
    expected = from_huggingface(given, config, family=family)
    for parameter_name, parameter in ours.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name
        torch.testing.assert_close(
            parameter.grad, expected[parameter_name], atol=1e-5, rtol=0, msg=lambda m, n=parameter_name: f"{n}: {m}"
        )


@each_model
def test_bf16_rounds_as_well_as_the_class(name: str, tmp_path: Path) -> None:
    model, batch = theirs(name), packed_examples()
    model.save_pretrained(tmp_path)
    ours = CausalLM(MODELS[name][0])
    ours.load_state_dict(load_pretrained(tmp_path).state)
    rows, ids = padded(batch), original(batch)
    real = rows.attention_mask.bool()

    def given() -> tuple[torch.Tensor, torch.Tensor]:
        found = model(ids, attention_mask=real, labels=ids.masked_fill(~real, -100), output_hidden_states=True)
        return found.hidden_states[-1][real], found.loss

    def found() -> tuple[torch.Tensor, torch.Tensor]:
        loss = ours(batch)["causal_loss"] / ours.counts(batch)["causal_loss"]
        return ours.encoder(replace(batch.tokens, input_ids=unmasked(batch)))[: batch.num_tokens], loss

    assert_rounds_as_well(bf16_errors(ours, found), bf16_errors(model, given))


@each_model
def test_every_bit_comes_back(name: str, tmp_path: Path) -> None:
    model = theirs(name)
    model.save_pretrained(tmp_path / "theirs")
    pretrained = load_pretrained(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    write_folder(tmp_path / "ours", pretrained.config, pretrained.state, {})
    assert architecture(pretrained.config, pretrained.state) == type(model).__name__
    again, info = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert [info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")] == [set()] * 3
    tensors = again.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    back = load_pretrained(tmp_path / "ours")
    assert back.config == pretrained.config
    assert all(torch.equal(back.state[name], tensor) for name, tensor in pretrained.state.items())


def test_masks_do_not_matter_and_sequences_do_not_see_each_other() -> None:
    model, batch = random_weights(CausalLM(GPT2)), packed_examples()
    loss = model(batch)["causal_loss"]
    alone = sum(model(each)["causal_loss"] for each in one_by_one(batch))
    torch.testing.assert_close(loss, alone, atol=1e-3, rtol=1e-5)
    mlm = batch.targets["mlm"]
    batch.tokens.input_ids[mlm.positions[: mlm.count].long()] = 77
    torch.testing.assert_close(model(batch)["causal_loss"], loss, atol=0, rtol=0)
    assert model.counts(batch)["causal_loss"] == batch.num_tokens - batch.num_examples


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (CONFIG, "model.is_causal=false sees the next token"),
        (replace(GPT2, embedding_size=16), "model.embedding_size=16 is not model.hidden_size=32"),
    ],
    ids=["not causal", "small embeddings"],
)
def test_models_without_a_next_token_are_refused(config: EncoderConfig, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CausalLM(config)


def test_text_with_random_segments_is_refused() -> None:
    with torch.device("meta"):
        model = CausalLM(GPT2)
    with pytest.raises(
        ValueError, match=r"contiguous text, but pairs=X joins .*; take pairs=token_blocks or pairs=full"
    ):
        model.check_targets(("mlm", "nsp"), "pairs=X")
    for given in (("mlm",), ("mlm", "sop")):
        model.check_targets(given, "pairs=X")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (replace(GPT, intermediate_size=64), "model.intermediate_size=64, which GPT's classes"),
        (replace(GPT, hidden_act="gelu"), "model.hidden_act=gelu, which GPT's classes"),
        (replace(GPT2, use_bias=False), "model.use_bias=False, which GPT-2's classes"),
    ],
    ids=["width", "activation", "biases"],
)
def test_causal_models_that_no_class_holds_are_refused(config: EncoderConfig, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        to_config_json(config)
