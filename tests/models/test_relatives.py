"""The encoder as relatives of BERT, by its config alone, against their classes in transformers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from bert_lightning.checkpoints.huggingface import from_config_json, to_config_json, to_huggingface
from bert_lightning.checkpoints.tensor_checks import check_state
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.heads import MaskedLMHead
from bert_lightning.models.useful_flops import step_flops
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.streams.packed_batch import PackedBatch
from tests.models.relatives import assert_parity, carried_over
from tests.support.models import MODERN, tiny_encoder
from tests.support.parity import CONFIG, gradients, losses, one_by_one, packed_examples, padded, random_weights

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


GPT2 = replace(
    CONFIG,
    norm="pre",
    embedding_norm=False,
    is_causal=True,
    type_vocab_size=0,
    hidden_act="gelu_new",
    layer_norm_eps=1e-5,
    initialization="scaled_residual",
)


def test_a_gpt2() -> None:
    sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 64, "n_positions": 40}
    dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    theirs = random_weights(GPT2Model(GPT2Config(vocab_size=101, **sizes, **dropouts)))
    names = {"embeddings.token": ("wte",), "embeddings.position": ("wpe",), "norm": ("ln_f",)}
    for layer in range(3):
        ours, other = f"layers.{layer}", f"h.{layer}"
        names |= {f"{ours}.attention.qkv": (f"{other}.attn.c_attn",), f"{ours}.output": (f"{other}.mlp.c_proj",)}
        names |= {f"{ours}.attention_output": (f"{other}.attn.c_proj",), f"{ours}.intermediate": (f"{other}.mlp.c_fc",)}
        names |= {f"{ours}.attention_norm": (f"{other}.ln_1",), f"{ours}.output_norm": (f"{other}.ln_2",)}

    def carry(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        turned = {name: tensor.T if tensor.ndim == 2 and ".c_" in name else tensor for name, tensor in tensors.items()}
        return carried_over(turned, names, GPT2)

    def hidden_states(batch: PackedBatch) -> list[Tensor]:
        rows = padded(batch)
        return list(theirs(rows.input_ids, attention_mask=rows.attention_mask, output_hidden_states=True).hidden_states)

    assert_parity(theirs, GPT2, carry, hidden_states)


WINDOWED = replace(CONFIG, **MODERN | {"rope_theta": 500.0, "local_rope_theta": 100.0}, num_hidden_layers=5)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_modernbert(every: int) -> None:
    config = replace(WINDOWED, global_attn_every_n_layers=every)
    theta = {"full_attention": {"rope_theta": 500.0}, "sliding_attention": {"rope_theta": 100.0}}
    kinds = ["sliding_attention" if layer % every else "full_attention" for layer in range(5)]
    sizes = {"vocab_size": 101, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    reference = ModernBertConfig(
        **sizes,
        num_hidden_layers=5,
        max_position_embeddings=40,
        local_attention=8,
        layer_types=kinds,
        rope_parameters={kind: {"rope_type": "default", **theta[kind]} for kind in theta},
        pad_token_id=0,
        attn_implementation="sdpa",
    )
    theirs = random_weights(ModernBertModel(reference))
    names = {"embeddings.token": ("embeddings.tok_embeddings",), "embeddings.norm": ("embeddings.norm",)}
    names |= {"norm": ("final_norm",)}
    for layer in range(5):
        ours, other = f"layers.{layer}", f"layers.{layer}"
        names |= {f"{ours}.attention.qkv": (f"{other}.attn.Wqkv",), f"{ours}.output": (f"{other}.mlp.Wo",)}
        names |= {f"{ours}.attention_output": (f"{other}.attn.Wo",), f"{ours}.intermediate": (f"{other}.mlp.Wi",)}
        names |= {f"{ours}.attention_norm": (f"{other}.attn_norm",), f"{ours}.output_norm": (f"{other}.mlp_norm",)}

    def hidden_states(batch: PackedBatch) -> list[Tensor]:
        rows = padded(batch)
        return list(theirs(rows.input_ids, rows.attention_mask, output_hidden_states=True).hidden_states)

    assert_parity(theirs, config, lambda tensors: carried_over(tensors, names, config), hidden_states)


@pytest.mark.parametrize("config", [GPT2, WINDOWED], ids=["gpt2", "modernbert"])
def test_rows_are_those_of_the_whole_and_no_sequence_sees_another(config: EncoderConfig) -> None:
    encoder, batch = random_weights(Encoder(config)), packed_examples()
    whole = encoder(batch.tokens)
    rows = torch.tensor([0, 7, 30, 50])
    torch.testing.assert_close(encoder(batch.tokens, rows), whole[rows], atol=1e-5, rtol=0)
    alone = torch.cat([encoder(single.tokens) for single in one_by_one(batch)])
    torch.testing.assert_close(whole[: batch.num_tokens], alone, atol=1e-5, rtol=0)


def test_a_causal_model_sees_no_later_token() -> None:
    encoder, batch = random_weights(Encoder(GPT2)), packed_examples()
    before = encoder(batch.tokens)
    begin, end = batch.tokens.cu_seqlens[2:4].tolist()
    batch.tokens.input_ids[begin + 5] = 50
    after = encoder(batch.tokens)
    assert torch.equal(before[: begin + 5], after[: begin + 5])
    assert not torch.isclose(before[begin + 5 : end], after[begin + 5 : end]).all(-1).any()
    assert torch.equal(before[end:], after[end:])


def test_matrices_that_add_to_the_residual_stream_begin_smaller() -> None:
    torch.manual_seed(0)
    encoder = Encoder(replace(GPT2, hidden_size=128, intermediate_size=512))
    for layer in encoder.layers_in_order():
        for module, expected in (
            (layer.attention_output, 0.02 / 6**0.5),
            (layer.output, 0.02 / 6**0.5),
            (layer.attention.qkv, 0.02),
            (layer.intermediate, 0.02),
        ):
            assert module.weight.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("config", [GPT2, WINDOWED], ids=["gpt2", "modernbert"])
def test_a_residual_stream_that_is_not_normalized_stays_in_fp32_under_autocast(config: EncoderConfig) -> None:
    encoder, batch = (
        Encoder(replace(config, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)),
        packed_examples(),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        *earlier, last = encoder.hidden_states(batch.tokens)
    assert {states.dtype for states in earlier} == {torch.float32}
    assert last.dtype == torch.bfloat16
    last.float().square().sum().backward()
    assert all(gradient.isfinite().all() for gradient in gradients(encoder).values())


def test_masked_objectives_refuse_a_causal_model() -> None:
    with pytest.raises(ValueError, match="is_causal=true sees nothing after a mask"):
        MaskedLMWithNSP(GPT2)


def test_operations_of_windows_and_gates() -> None:
    gated = 5 * (4 * 32**2 + 3 * 32 * CONFIG.intermediate_size)
    assert step_flops(WINDOWED, 1, 0, 0) == 6 * gated
    plain = 3 * (4 * 32**2 + 2 * 32 * CONFIG.intermediate_size)
    assert step_flops(GPT2, 10, 10**2, 0) == 6 * plain * 10 + 12 * 3 * 32 * sum(range(1, 11))
    # Layers 0 and 3 see all of 100 tokens, the others 9 each.
    assert step_flops(WINDOWED, 100, 100**2, 0) == 6 * gated * 100 + 12 * 32 * (2 * 100**2 + 3 * 9 * 100)


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
    assert len(tiny.layers_in_order()) == 3
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


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"local_rope_theta": None, "rope_theta": 9.0}, {"local_rope_theta": 9.0, "rope_theta": 9.0}),
        ({"local_attention": None}, {"local_attention": None, "local_rope_theta": None}),
        ({"global_attn_every_n_layers": 5}, {"global_attn_every_n_layers": 3}),
        ({"global_attn_every_n_layers": 1}, {"local_attention": None}),
        ({"local_attention": 9}, {"local_attention": 8}),
    ],
)
def test_settings_that_say_the_same_are_no_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    one, other = (replace(CONFIG, **{**MODERN, **each}) for each in (ours, theirs))
    assert one.differences(other) == other.differences(one) == []
    back = from_config_json(to_config_json(one))
    assert one.differences(back) == back.differences(one) == []
    deep = replace(CONFIG, **MODERN)
    assert deep.differences(replace(deep, local_rope_theta=9.0)) == ["local_rope_theta"]
    assert deep.differences(replace(deep, global_attn_every_n_layers=2)) == ["global_attn_every_n_layers"]
    assert deep.differences(replace(deep, is_causal=True, local_attention=9)) == ["is_causal"]


def test_embeddings_as_wide_as_the_layers_are_no_trait() -> None:
    """Such a BERT keeps its head for pairs when it is written."""
    said = replace(CONFIG, embedding_size=CONFIG.hidden_size)
    assert said == CONFIG
    assert to_config_json(said, MaskedLMWithNSP(said).state_dict())["architectures"] == ["BertForPreTraining"]


def test_projected_embeddings_are_normalized_before_the_first_layer_reads_them() -> None:
    """The linear layer between them and the layers undoes what their LayerNorm did."""
    modern = replace(CONFIG, **MODERN)
    narrow = replace(modern, embedding_size=16)
    assert [config.reads_normalized(0) for config in (modern, narrow)] == [True, False]
    assert Encoder(narrow).layers[0].attention_norm.weight.shape == (32,)


def test_layers_are_in_the_groups_of_the_reference() -> None:
    """The expression of transformers' AlbertTransformer, whose rounding is not that of whole numbers everywhere."""
    differs = 0
    for layers in range(1, 49):
        for groups in range(1, layers + 1):
            config = tiny_encoder(num_hidden_layers=layers, num_hidden_groups=groups, shared_parameters="all")
            found = [config.group_of(layer) for layer in range(layers)]
            assert found == [int(layer / (layers / groups)) for layer in range(layers)]
            assert set(found) == set(range(groups))
            differs += found != [layer * groups // layers for layer in range(layers)]
    assert differs > 10


@pytest.mark.parametrize("change", [{"use_bias": False}, {"norm": "pre"}, {"shared_parameters": "attention"}])
def test_a_checkpoint_of_a_relative_without_a_family_is_checked_and_not_written(change: dict[str, object]) -> None:
    config = replace(CONFIG, **change)
    state = MaskedLMWithNSP(config).state_dict()
    check_state(state, config, "x.ckpt")
    del state["encoder.layers.0.output.weight"]
    with pytest.raises(ValueError, match=r"x\.ckpt lacks encoder\.layers\.0\.output\.weight"):
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
            {"position_offset": 2, "positions": "rotary"},
            "position_offset=2 does nothing with model.positions=rotary; take another .*, or model.position_offset=0",
        ),
        ({"rope_theta": 160_000.0}, r"rope_theta=160000\.0 does nothing with model.positions=learned"),
        ({"local_rope_theta": 5.0}, r"local_rope_theta=5\.0 does nothing with model.positions=learned"),
        ({"global_attn_every_n_layers": 2}, "layers=2 does nothing with model.local_attention=None; take another"),
        ({"norm": "both"}, "norm must be one of post, pre; got both"),
        ({"feed_forward": "wide"}, "feed_forward must be one of plain, gated; got wide"),
        ({"positions": "relative"}, "positions must be one of learned, rotary; got relative"),
        ({"positions": "rotary", "num_attention_heads": 32}, "positions=rotary needs an even .*; got 1"),
        ({"rope_theta": 0.0}, r"rope_theta=0\.0 is not positive"),
        ({"local_attention": 1}, "local_attention must be .*at least 2.*; got 1"),
        (
            {"local_attention": 8, "shared_parameters": "all"},
            "local_attention=8 makes layers attend differently, .*shared_parameters=all",
        ),
        (
            {"is_causal": True, "initialization": "neighbors", "hidden_size": 64},
            "initialization=neighbors needs model.is_causal=False; got True",
        ),
        (
            {"embedding_size": 16, "initialization": "neighbors", "hidden_size": 64},
            "initialization=neighbors needs model.embedding_size=64.*; got 16",
        ),
    ],
)
def test_impossible_relatives_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **change)
