"""The encoder as relatives of BERT, by its config alone, against their classes in transformers."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers import AlbertConfig, AlbertModel, ElectraConfig, ElectraModel, RobertaConfig, RobertaModel

from bert_lightning.checkpoints.huggingface import check_state, to_config_json, to_huggingface
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import MaskedLMHead
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.streams.packing import PackedBatch
from tests.models.relatives import assert_parity, carried_over, random_weights
from tests.support.parity import CONFIG, gradients, losses, packed_examples, padded

SIZES = {
    "vocab_size": 101,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "attn_implementation": "sdpa",
}
FACTORIZED = replace(CONFIG, embedding_size=16)
TABLES = {
    "embeddings.token": ("embeddings.word_embeddings",),
    "embeddings.position": ("embeddings.position_embeddings",),
    "embeddings.segment": ("embeddings.token_type_embeddings",),
    "embeddings.norm": ("embeddings.LayerNorm",),
}


def bert_layer(number: int) -> dict[str, tuple[str, ...]]:
    ours, theirs = f"layers.{number}", f"encoder.layer.{number}"
    return {
        f"{ours}.attention.qkv": tuple(f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")),
        f"{ours}.attention_output": (f"{theirs}.attention.output.dense",),
        f"{ours}.attention_norm": (f"{theirs}.attention.output.LayerNorm",),
        f"{ours}.intermediate": (f"{theirs}.intermediate.dense",),
        f"{ours}.output": (f"{theirs}.output.dense",),
        f"{ours}.output_norm": (f"{theirs}.output.LayerNorm",),
    }


def albert_layer(number: int) -> dict[str, tuple[str, ...]]:
    ours, theirs = f"layers.{number}", f"encoder.albert_layer_groups.{number}.albert_layers.0"
    return {
        f"{ours}.attention.qkv": tuple(f"{theirs}.attention.{part}" for part in ("query", "key", "value")),
        f"{ours}.attention_output": (f"{theirs}.attention.dense",),
        f"{ours}.attention_norm": (f"{theirs}.attention.LayerNorm",),
        f"{ours}.intermediate": (f"{theirs}.ffn",),
        f"{ours}.output": (f"{theirs}.ffn_output",),
        f"{ours}.output_norm": (f"{theirs}.full_layer_layer_norm",),
    }


def compare(theirs: nn.Module, config: EncoderConfig, names: Mapping[str, tuple[str, ...]], pad: int = 0) -> None:
    def hidden_states(batch: PackedBatch) -> list[Tensor]:
        rows = padded(batch)
        ids = rows.input_ids.masked_fill(rows.attention_mask == 0, pad)
        types = rows.token_type_ids.clamp(max=config.type_vocab_size - 1)
        return list(theirs(ids, rows.attention_mask, types, output_hidden_states=True).hidden_states)

    random_weights(theirs)
    assert_parity(theirs, config, lambda tensors: carried_over(tensors, names, config), hidden_states)


def test_a_roberta() -> None:
    config = replace(CONFIG, position_offset=2, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5)
    sizes = {"num_hidden_layers": 3, "max_position_embeddings": 42, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    theirs = RobertaModel(RobertaConfig(**SIZES, **sizes, pad_token_id=1), add_pooling_layer=False)
    names = TABLES | {ours: parts for layer in range(3) for ours, parts in bert_layer(layer).items()}
    compare(theirs, config, names, pad=1)


def test_the_discriminator_of_an_electra() -> None:
    theirs = ElectraModel(ElectraConfig(**SIZES, num_hidden_layers=3, embedding_size=16, max_position_embeddings=40))
    names = TABLES | {"embeddings.projection": ("embeddings_project",)}
    compare(theirs, FACTORIZED, names | {k: v for layer in range(3) for k, v in bert_layer(layer).items()})


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_an_albert(groups: int) -> None:
    config = replace(
        FACTORIZED, num_hidden_layers=5, shared_parameters="all", num_hidden_groups=groups, hidden_act="gelu_new"
    )
    sizes = {"num_hidden_layers": 5, "num_hidden_groups": groups, "embedding_size": 16, "max_position_embeddings": 40}
    theirs = AlbertModel(AlbertConfig(**SIZES, **sizes), add_pooling_layer=False)
    names = TABLES | {"embeddings.projection": ("encoder.embedding_hidden_mapping_in",)}
    compare(theirs, config, names | {k: v for group in range(groups) for k, v in albert_layer(group).items()})


@pytest.mark.parametrize(("shared", "kept"), [("attention", "intermediate"), ("feed_forward", "attention.qkv")])
def test_a_shared_half_is_one_set_of_weights_and_its_gradient_the_sum_over_layers(shared: str, kept: str) -> None:
    """Compared with an encoder that has a copy of the half in every layer."""
    config = replace(CONFIG, num_hidden_layers=4, shared_parameters=shared, num_hidden_groups=2)
    ours, copies, batch = Encoder(config), Encoder(replace(CONFIG, num_hidden_layers=4)), packed_examples()
    random_weights(ours)
    copies.load_state_dict(ours.state_dict())
    found = []
    for encoder in (ours, copies.eval()):
        hidden = encoder(batch.tokens)[: batch.num_tokens]
        (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
        found.append((hidden, gradients(encoder)))
    assert torch.equal(found[0][0], found[1][0])
    assert {name.split(".", 2)[1] for name in found[0][1] if kept in name} == {"0", "1", "2", "3"}
    for name, gradient in found[0][1].items():
        half = name.split(".", 2)[-1]
        twin = name.replace("layers.0.", "layers.1.").replace("layers.2.", "layers.3.")
        is_shared = twin != name and twin not in found[0][1]
        expected = found[1][1][name] + (found[1][1][twin] if is_shared else 0)
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-5, msg=lambda m, n=half: f"{n}: {m}")


def test_shared_layers_are_stored_once() -> None:
    whole, tiny = Encoder(CONFIG), Encoder(replace(CONFIG, shared_parameters="all"))
    assert len(whole.layers) == 3
    assert len(tiny.layers) == 1
    assert len(tiny.path()) == 3
    assert {name.split(".")[1] for name in tiny.state_dict() if name.startswith("layers.")} == {"0"}


def test_without_segments_a_bert_is_as_with_segment_embeddings_of_zero() -> None:
    with_table, without, batch = Encoder(CONFIG), Encoder(replace(CONFIG, type_vocab_size=0)), packed_examples()
    nn.init.zeros_(with_table.embeddings.segment.weight)  # type: ignore[union-attr]
    state = {name: tensor for name, tensor in with_table.state_dict().items() if "segment" not in name}
    without.load_state_dict(state, strict=True)
    assert torch.equal(with_table.eval()(batch.tokens), without.eval()(batch.tokens))


def test_the_head_for_masked_tokens_is_as_wide_as_the_embeddings() -> None:
    """Its scores are those of the steps by hand, and a small embedding gets gradients from both of its ends."""
    model, batch = MaskedLMWithNSP(FACTORIZED), packed_examples()
    head, table = model.mlm_head, model.encoder.embeddings.token.weight
    hidden = torch.randn(3, 32)
    features = head.norm(nn.functional.gelu(hidden @ head.transform.weight.T + head.transform.bias))
    torch.testing.assert_close(head.scores(hidden, table)[:, :101], features @ table[:101].T + head.bias)
    assert MaskedLMHead(FACTORIZED).transform.weight.shape == (16, 32)
    sum(losses(model, batch).values()).backward()
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())


def test_operations_are_those_of_the_weights_that_tokens_pass() -> None:
    albert = replace(FACTORIZED, shared_parameters="all")
    layers, projection = 3 * (4 * 32**2 + 2 * 32 * CONFIG.intermediate_size), 16 * 32
    assert step_flops(albert, 1, 0, 0) == 6 * (layers + projection)
    assert step_flops(albert, 0, 0, 1) == 6 * (32 * 16 + 16 * 101)


def test_a_config_says_only_what_makes_it_no_bert() -> None:
    assert CONFIG.beyond_bert() == {}
    assert FACTORIZED.as_dict() == CONFIG.as_dict() | {"embedding_size": 16}
    assert FACTORIZED.differences(CONFIG) == ["embedding_size"]
    assert replace(CONFIG, hidden_dropout_prob=0.5, initialization="bert").differences(CONFIG) == []


@pytest.mark.parametrize("change", [{"type_vocab_size": 0}, {"position_offset": 2}, {"shared_parameters": "all"}])
def test_a_checkpoint_of_a_relative_is_checked_and_never_written_as_a_bert(change: dict[str, object]) -> None:
    config = replace(CONFIG, **change)
    state = MaskedLMWithNSP(config).state_dict()
    check_state(state, config, "x.ckpt")
    del state["encoder.layers.0.output.bias"]
    with pytest.raises(ValueError, match=r"x\.ckpt lacks encoder\.layers\.0\.output\.bias"):
        check_state(state, config, "x.ckpt")
    said = f"model.{next(iter(change))}={next(iter(change.values()))}, which BERT's classes in transformers"
    for write in (lambda: to_config_json(config), lambda: to_huggingface(state, config)):
        with pytest.raises(ValueError, match=said):
            write()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type_vocab_size": -1}, "type_vocab_size must be a whole number, at least 0; got -1"),
        ({"embedding_size": 0}, "embedding_size must be a whole number, at least 1"),
        ({"position_offset": -2}, "position_offset must be a whole number, at least 0; got -2"),
        (
            {"shared_parameters": "some"},
            "shared_parameters must be one of none, attention, .*; got some",
        ),
        ({"num_hidden_groups": 2}, "num_hidden_groups=2 does nothing with model.shared_parameters=none"),
        ({"num_hidden_groups": 4, "shared_parameters": "all"}, "num_hidden_groups=4 is above .*num_hidden_layers=3"),
        (
            {"embedding_size": 16, "initialization": "neighbors", "hidden_size": 64},
            "initialization=neighbors needs model.embedding_size=64.*; got 16",
        ),
    ],
)
def test_impossible_relatives_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **change)
