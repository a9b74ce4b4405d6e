"""Heads that begin by looking at neighboring tokens, seen in the attention weights of a real forward pass."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForPreTraining

from bert_lightning.checkpoints.huggingface import from_config_json, read_folder, to_config_json, write_folder
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.neighbors import num_frequencies
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.streams.packed_batch import PackedTokens
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.models import tiny_encoder
from tests.support.parity import packed_examples, padded

MASK = 4
OFFSETS = [-1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6, -7, 7, -8, 8]
SHAPES = [  # hidden_size, heads, length of the sequences
    (128, 2, 32),
    (128, 2, 128),
    (256, 4, 64),
    (512, 8, 128),
    (768, 12, 32),
    (768, 12, 512),
    (1024, 16, 64),
    (128, 8, 32),
    (128, 16, 40),
    (96, 3, 50),
    (64, 8, 48),
    (64, 4, 100),
    (64, 1, 16),
    (128, 1, 24),
    (200, 5, 33),
    (140, 7, 20),
]


def neighbors_config(hidden_size: int, num_heads: int, **sizes: Any) -> EncoderConfig:
    return tiny_encoder(
        500,
        hidden_size=hidden_size,
        num_attention_heads=num_heads,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=512,
        initialization="neighbors",
        **sizes,
    )


def masked_sentences(length: int, tokens: int = 4096) -> PackedTokens:
    """Pairs of random tokens, of which 15% are masked."""
    number = max(tokens // length, 12)
    torch.manual_seed(1)
    ids = torch.randint(5, 500, (number * length,))
    ids[torch.rand(len(ids)) < 0.15] = MASK
    positions = torch.arange(length).repeat(number)
    return PackedTokens(
        input_ids=ids,
        position_ids=positions,
        token_type_ids=(positions > length // 2).long(),
        cu_seqlens=torch.arange(0, len(ids) + 1, length, dtype=torch.int32),
        max_seqlen=length,
    )


@torch.no_grad()
def attention_weights(config: EncoderConfig, tokens: PackedTokens) -> list[Tensor]:
    """Attention weights of every layer, averaged over sequences, (heads, length, length)."""
    found = []

    def recorded(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> Tensor:
        by_sequence = qkv.unflatten(0, (-1, max_seqlen))  # (sequences, length, 3, heads, head_dim)
        query, key, _ = by_sequence.permute(2, 0, 3, 1, 4)  # each (sequences, heads, length, head_dim)
        found.append((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1).mean(0))
        return looped_attention(qkv, cu_seqlens, max_seqlen, dropout_p)

    torch.manual_seed(0)
    Encoder(config, recorded).eval()(tokens)
    return found


def looked_at(weights: Tensor) -> list[int]:
    """The distance from the query to the key with the largest mean weight, for every head of (heads, length, length).

    Distances go up to half the length: a larger one is the distance of a few queries at the ends only.
    """
    most = weights.shape[-1] // 2
    means = torch.stack([weights.diagonal(offset, 1, 2).mean(1) for offset in range(-most, most + 1)])
    return (means.argmax(0) - most).tolist()


@pytest.mark.parametrize(("hidden_size", "num_heads", "length"), SHAPES)
def test_every_head_of_the_first_layer_looks_at_its_neighbor(hidden_size: int, num_heads: int, length: int) -> None:
    """Also twice as much as at a token by chance."""
    config = neighbors_config(hidden_size, num_heads, num_hidden_layers=1)
    (weights,) = attention_weights(config, masked_sentences(length))
    offsets = OFFSETS[:num_heads]
    assert looked_at(weights) == offsets
    assert all(head.diagonal(offset).mean() > 2 / length for head, offset in zip(weights, offsets, strict=True))


@pytest.mark.parametrize("initializer_range", [0.001, 0.06, 1.0])
def test_the_weights_at_the_start_do_not_depend_on_the_initializer_range(initializer_range: float) -> None:
    """LayerNorm takes it out of what a head of the first layer reads."""
    tokens = masked_sentences(40)
    found, expected = (
        attention_weights(neighbors_config(128, 8, num_hidden_layers=1, initializer_range=each), tokens)[0]
        for each in (initializer_range, 0.02)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("hidden_size", "num_heads", "num_layers"), [(128, 2, 12), (256, 4, 12), (768, 12, 4)])
def test_half_of_the_heads_of_later_layers_look_at_neighbors_too(
    hidden_size: int, num_heads: int, num_layers: int
) -> None:
    config = neighbors_config(hidden_size, num_heads, num_hidden_layers=num_layers)
    for weights in attention_weights(config, masked_sentences(32))[1:]:
        half = num_heads // 2
        assert looked_at(weights[:half]) == OFFSETS[:half]


@pytest.mark.parametrize(("hidden_size", "num_heads"), [(128, 2), (128, 1), (96, 3), (72, 8), (768, 12)])
def test_everything_else_is_what_bert_draws_with_the_same_seed(hidden_size: int, num_heads: int) -> None:
    config = neighbors_config(hidden_size, num_heads)
    found, expected = (weights_of(each) for each in (config, replace(config, initialization="bert")))
    assert found.keys() == expected.keys()
    rows = 2 * num_frequencies(hidden_size, num_heads)
    for name, tensor in found.items():
        changed = tensor != expected[name]
        if name == "encoder.embeddings.position.weight":
            assert changed[1:, : hidden_size // 2 // (2 * rows) * (2 * rows)].all()
            assert not changed[:, hidden_size // 2 :].any()
        elif name.endswith("qkv.weight"):
            query, key, value = changed.unflatten(0, (3, num_heads, -1))  # each (heads, head_dim, hidden)
            looking = num_heads if ".0." in name else num_heads // 2
            for part in (query, key):
                assert part[:looking, :rows].all()
                assert not part[:looking, rows:].any()
                assert not part[looking:].any()
            assert not value.any()
        else:
            assert not changed.any(), name


def weights_of(config: EncoderConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return MaskedLMWithNSP(config).state_dict()


def test_positions_have_the_variance_that_bert_draws() -> None:
    table = weights_of(neighbors_config(768, 12))["encoder.embeddings.position.weight"]
    assert table[:, :384].square().mean().sqrt().item() == pytest.approx(0.02, rel=0.01)


def test_weights_on_the_meta_device_have_the_same_shapes() -> None:
    config = neighbors_config(128, 2)
    with torch.device("meta"):
        found = MaskedLMWithNSP(config).state_dict()
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in weights_of(config).items()
    }


@pytest.mark.parametrize(("hidden_size", "num_heads"), [(32, 2), (64, 16)])
def test_a_model_too_small_for_it_is_refused(hidden_size: int, num_heads: int) -> None:
    with pytest.raises(ValueError, match=rf"neighbors needs .*; got {hidden_size} and {hidden_size // num_heads}$"):
        neighbors_config(hidden_size, num_heads)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embedding_norm": False}, "needs model.embedding_norm=true or model.norm=pre, .*; got false and post"),
        (
            {"local_attention": 2, "num_hidden_layers": 2},
            "lets heads look 2 tokens away, but model.local_attention shows 1 of them on either side; take at least 4",
        ),
    ],
)
def test_a_start_that_attention_cannot_see_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        neighbors_config(64, 8, **change)
    allowed = (
        {"embedding_norm": False, "norm": "pre"} if "embedding_norm" in change else {**change, "local_attention": 4}
    )
    neighbors_config(64, 8, **allowed)


def test_an_export_is_an_ordinary_bert(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = neighbors_config(64, 4)
    model = MaskedLMWithNSP(config).eval()
    write_folder(tmp_path, config, model.state_dict(), tokenizer_files(tokenizer))
    usual = replace(config, initialization="bert")
    assert to_config_json(config) == to_config_json(usual)
    assert read_folder(tmp_path)[0] == usual
    theirs, info = AutoModelForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    batch = packed_examples()
    rows = padded(batch)
    out = theirs.eval()(rows.input_ids, rows.attention_mask, rows.token_type_ids)
    hidden = model.encoder(batch.tokens)[: batch.num_tokens]
    scores = model.mlm_head.scores(hidden, model.encoder.embeddings.token.weight)[:, : config.vocab_size]
    torch.testing.assert_close(scores, out.prediction_logits[rows.attention_mask.bool()], atol=1e-5, rtol=0)


def test_a_config_json_does_not_say_how_weights_begin() -> None:
    config = tiny_encoder()
    assert from_config_json(to_config_json(config) | {"initialization": "neighbors"}) == config
