"""Heads that begin by looking at neighboring tokens, seen in the attention weights of a real forward pass."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bert_lightning.models.attention import looped_attention
from bert_lightning.models.encoder import Encoder, EncoderConfig
from bert_lightning.models.neighbors import num_neighbor_heads, offset_of
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.streams.packing import PackedTokens
from tests.support.models import tiny_encoder

MASK = 4
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
    (32, 4, 48),
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
        query, key, _ = qkv.unflatten(0, (-1, max_seqlen)).permute(2, 0, 3, 1, 4)  # (sequences, heads, length, head_dim)
        found.append((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1).mean(0))
        return looped_attention(qkv, cu_seqlens, max_seqlen, dropout_p)

    torch.manual_seed(0)
    Encoder(config, recorded).eval()(tokens)
    return found


def by_offset(weights: Tensor) -> dict[int, float]:
    """Mean weight at every distance from the query to the key, for the weights of one head, (length, length)."""
    length = len(weights)
    return {offset: weights.diagonal(offset).mean().item() for offset in range(1 - length, length)}


@pytest.mark.parametrize("initializer_range", [0.02, 0.06])
@pytest.mark.parametrize(("hidden_size", "num_heads", "length"), SHAPES)
def test_every_head_of_the_first_layer_looks_at_its_neighbor(
    hidden_size: int, num_heads: int, length: int, initializer_range: float
) -> None:
    config = neighbors_config(hidden_size, num_heads, num_hidden_layers=1, initializer_range=initializer_range)
    (weights,) = attention_weights(config, masked_sentences(length))
    profiles = [by_offset(head) for head in weights]
    assert [max(profile, key=profile.__getitem__) for profile in profiles] == [offset_of(k) for k in range(num_heads)]
    assert all(max(profile.values()) > 2 / length for profile in profiles)


@pytest.mark.parametrize("layers", [2,4,12])
@pytest.mark.parametrize(("hidden_size", "num_heads", "length"), SHAPES)
@pytest.mark.parametrize("initializer_range", [0.02, 0.06])
def test_later(layers, hidden_size, num_heads, length, initializer_range):
    if length==512: return
    config = neighbors_config(hidden_size, num_heads, num_hidden_layers=layers, initializer_range=initializer_range)
    allw = attention_weights(config, masked_sentences(length))
    for l, weights in enumerate(allw):
        profiles = [by_offset(head) for head in weights][:num_neighbor_heads(l,num_heads)]
        got=[max(profile, key=profile.__getitem__) for profile in profiles]
        print(l, [round(max(p.values())*length,2) for p in profiles][:3], got==[offset_of(k) for k in range(len(got))])
