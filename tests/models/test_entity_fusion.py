"""Layers that read entities, against the equations of ERNIE written out for one example at a time."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.knowledge.entity_fusion import (
    EntitySizes,
    FusingLayer,
    Mentions,
    encode_with_entities,
    fuse,
    fusion_flops,
)
from bert_lightning.models.knowledge.entity_vectors import EntityVectors
from bert_lightning.models.looped_attention import looped_attention
from data_pipeline.streams.packed_batch import PackedBatch, PackedTokens
from tests.support.parity import CONFIG, packed_examples, random_weights

SIZES = EntitySizes(entity_size=12, num_heads=3)
POSITIONS = [1, 5, 8, 26, 30, 41, 70, 130, 0, 0]
"""First tokens of mentions in `packed_examples`: 3 in example 0, one in 1, two in 2, one in 3, none in 4, one in 5."""
IS_SHOWN = [True, True, False, True, True, True, True, True, False, False]
MODERN: dict[str, Any] = {"norm": "pre", "feed_forward": "gated", "use_bias": False, "positions": "rotary"}
CONFIGS = {"bert": CONFIG, "modern": replace(CONFIG, type_vocab_size=0, **MODERN)}
FUSED = {"the last": [2], "two, the last among them": [1, 2], "two lower ones": [0, 1]}


def fusing_encoder(config: EncoderConfig = CONFIG, numbers: list[int] = FUSED["two lower ones"]) -> Encoder:
    encoder = Encoder(config)
    fuse(encoder, looped_attention, numbers, SIZES)
    random_weights(encoder)
    return encoder


def vectors_of(count: int = len(POSITIONS)) -> Tensor:
    return torch.randn(count, SIZES.entity_size, generator=torch.Generator().manual_seed(1))


def mentions_of(batch: PackedBatch, is_shown: list[bool] = IS_SHOWN) -> Mentions:
    return Mentions.of(batch.tokens, torch.tensor(POSITIONS, dtype=torch.int32), torch.tensor(is_shown))


def attended(x: Tensor, qkv: nn.Linear, heads: int, tokens: PackedTokens | None) -> Tensor:
    """Multi-head attention of all rows of one example, head by head."""
    query, key, value = F.linear(x, qkv.weight, qkv.bias).chunk(3, dim=-1)
    size, context = x.shape[-1] // heads, []
    for head in range(heads):
        q, k, v = (each[:, head * size : (head + 1) * size] for each in (query, key, value))
        if tokens is not None:
            q, k = (turned(each, tokens.position_ids) for each in (q, k))
        context.append((q @ k.T / size**0.5).softmax(-1) @ v)
    return torch.cat(context, -1)


def turned(x: Tensor, positions: Tensor, theta: float = 10_000.0) -> Tensor:
    """Rotary positions of one head, (tokens, head_dim)."""
    half = x.shape[-1] // 2
    angles = positions[:, None].float() * theta ** -(torch.arange(half) / half)
    first, second = x[:, :half], x[:, half:]
    return torch.cat([first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1)


def by_equations(layer: FusingLayer, w: Tensor, e: dict[int, Tensor], tokens: PackedTokens) -> Any:
    """Tokens and entities of one example after a layer; e has the entity of each first token."""
    config, side, modern = layer.config, layer.entity, layer.is_pre  # type: ignore[attr-defined]
    rotary = tokens if modern else None
    read = layer.attention_norm(w) if modern else w
    w = w + layer.attention_output(attended(read, layer.attention.qkv, config.num_attention_heads, rotary))
    w = w if modern else layer.attention_norm(w)
    read = layer.output_norm(w) if modern else w
    places = sorted(e)
    if places:
        before = torch.stack([e[place] for place in places])
        after = side.attention_output(attended(before, side.qkv, side.num_heads, None))
        e = dict(zip(places, side.attention_norm(before + after), strict=True))
    rows, entities = [], {}
    for place in range(len(w)):
        before = layer.intermediate(read[place])
        if place in e:
            before = before + side.intermediate.weight @ e[place]
        value, gate = before.chunk(2) if modern else (before, torch.tensor(0.0))
        h = F.gelu(value) * gate if modern else F.gelu(value)
        rows.append(w[place] + layer.output(h))
        if place in e and side.output is not None and side.output_norm is not None:
            entities[place] = side.output_norm(e[place] + side.output(h))
    w = torch.stack(rows)
    return w if modern else layer.output_norm(w), entities


def one_at_a_time(encoder: Encoder, batch: PackedBatch, vectors: Tensor, is_shown: list[bool]) -> Tensor:
    """The last hidden states of all real tokens, (tokens, hidden)."""
    tokens, found = batch.tokens, []
    ends = tokens.cu_seqlens.tolist()
    for begin, end in itertools.pairwise(ends[: batch.num_examples + 1]):
        own = [tokens.input_ids[begin:end], tokens.position_ids[begin:end], tokens.token_type_ids[begin:end]]
        alone = PackedTokens(*own, torch.tensor([0, end - begin], dtype=torch.int32), end - begin)
        w = encoder.embeddings(alone)
        e = {at - begin: vectors[row] for row, at in enumerate(POSITIONS) if is_shown[row] and begin <= at < end}
        for layer in encoder.layers_in_order():
            layer.config = encoder.config  # type: ignore[assignment]
            w, e = by_equations(layer, w, e, alone) if isinstance(layer, FusingLayer) else (layer(w, alone), e)
        found.append(encoder.finish(w))
    return torch.cat(found)


@pytest.mark.parametrize("numbers", FUSED.values(), ids=FUSED)
@pytest.mark.parametrize("name", CONFIGS)
def test_states_and_gradients_are_those_of_the_equations(name: str, numbers: list[int]) -> None:
    batch, vectors = packed_examples(), vectors_of()
    packed, alone = (fusing_encoder(CONFIGS[name], numbers) for _ in range(2))
    every = torch.arange(batch.num_tokens)
    states = encode_with_entities(packed, batch.tokens, mentions_of(batch), vectors, every)
    expected = one_at_a_time(alone, batch, vectors, IS_SHOWN)
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)
    for one in (states, expected):
        one.square().sum().backward()
    for (label, one), other in zip(packed.named_parameters(), alone.parameters(), strict=True):
        assert one.grad is not None, label
        torch.testing.assert_close(one.grad, other.grad, atol=1e-2, rtol=1e-3, msg=lambda m, at=label: f"{at}: {m}")


def test_a_text_without_mentions_passes_as_through_an_ordinary_encoder() -> None:
    """With none in the batch, with all of them hidden, and called as an ordinary encoder."""
    batch, rows = packed_examples(), torch.tensor([3, 60, 0])
    fusing, plain = fusing_encoder(), Encoder(CONFIG).eval()
    state = {name: each for name, each in fusing.state_dict().items() if ".entity." not in name}
    plain.load_state_dict(state)
    expected = plain(batch.tokens, rows)
    torch.testing.assert_close(fusing(batch.tokens, rows), expected)
    hidden = mentions_of(batch, [False] * len(POSITIONS))
    torch.testing.assert_close(encode_with_entities(fusing, batch.tokens, hidden, vectors_of(), rows), expected)
    none = Mentions.of(batch.tokens, torch.zeros(0, dtype=torch.int32), torch.zeros(0, dtype=torch.bool))
    torch.testing.assert_close(encode_with_entities(fusing, batch.tokens, none, vectors_of(0), rows), expected)


def test_nothing_passes_from_one_example_of_a_pack_to_another() -> None:
    """The states of an example have no gradient to the entities of others, nor to hidden ones."""
    batch, vectors = packed_examples(), vectors_of().requires_grad_()
    ends, encoder = batch.tokens.cu_seqlens.tolist(), fusing_encoder()
    for example in range(batch.num_examples):
        begin, end = ends[example : example + 2]
        states = encode_with_entities(encoder, batch.tokens, mentions_of(batch), vectors, torch.arange(begin, end))
        (gradient,) = torch.autograd.grad(states.square().sum(), vectors)
        inside = [IS_SHOWN[row] and begin <= at < end for row, at in enumerate(POSITIONS)]
        assert gradient.abs().sum(-1).gt(0).tolist() == inside, example


def test_fusing_keeps_the_weights_of_the_layers() -> None:
    encoder = Encoder(CONFIG)
    before = {name: each.clone() for name, each in encoder.state_dict().items()}
    fuse(encoder, looped_attention, [1], SIZES)
    after = encoder.state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())
    assert {name.split(".entity.")[0] for name in set(after) - set(before)} == {"layers.1"}
    assert not [name for name in after if ".entity.output" in name]  # nothing reads the entities after the last one


def test_a_table_is_no_weight() -> None:
    table = EntityVectors(np.ones((3, 12), dtype=np.float32), "f00")
    assert not list(table.parameters())
    assert not table.state_dict()
    assert table(torch.tensor([2, 2])).shape == (2, 12)


def test_operations_are_those_of_the_matrices() -> None:
    encoder = fusing_encoder(numbers=[0, 1, 2])
    matrices = [each for name, each in encoder.named_parameters() if ".entity." in name and each.ndim == 2]
    assert fusion_flops(CONFIG, 12, 3, mentions=10) == 6 * 10 * sum(each.numel() for each in matrices)


def test_vectors_that_cannot_be_cut_into_heads_are_refused() -> None:
    with pytest.raises(ValueError, match=r"entity vectors of size 10 cannot be cut into objective\.entity_heads=4"):
        EntitySizes(10, 4)
    with pytest.raises(ValueError, match=r"data\.path has 1 entities"):
        EntityVectors([[1.0, 2.0]], "")
