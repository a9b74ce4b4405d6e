"""Entities fused into layers of an encoder (ERNIE; Zhang et al., 2019, section 3.3).

A fusing layer is an encoder layer whose feed-forward network reads the entity of a mention beside its first token:

    e' = attention of the entities of an example to each other, with a residual connection and LayerNorm     (2)
    h = GELU(W_t w' + W_e e' + b) at the first token of a mention, h = GELU(W_t w' + b) at all others        (3), (4)
    w = LayerNorm(w' + W_w h + b_w),  e = LayerNorm(e' + W_v h + b_v)                                         (3)

W_t, b, W_w and b_w are the layer's feed-forward network, so a text without mentions passes through the layer as through
an ordinary one. The paper writes w = GELU(W_w h + b_w); dropout, the residual connection and LayerNorm in its place are
those of the published code (thunlp/ERNIE). That code gives W_e a bias, which all tokens get; here as in the paper, b is
the only one.

Shapes: tokens, hidden, intermediate; mentions, of all examples of a batch, and entity, the size of an entity's vector.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.dropout import Dropout
from bert_lightning.models.encoder import Encoder, EncoderLayer, initialize
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.packed_batch import PackedTokens


@dataclass(frozen=True, slots=True)
class EntitySizes:
    """Sizes of what a fusing layer has for entities.

    Attributes:
        entity_size: Length of an entity's vector.
        num_heads: Attention heads of entities.
    """

    entity_size: int
    num_heads: int

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.entity_size % self.num_heads:
            raise ValueError(
                f"entity vectors of size {self.entity_size} cannot be cut into objective.entity_heads={self.num_heads}"
            )


@dataclass(frozen=True, slots=True)
class Mentions:
    """The mentions of a packed batch.

    Attributes:
        positions: Index of the first token of each mention, (mentions,); any for one that is not shown.
        is_shown: Whether the entity of a mention is fused, (mentions,).
        is_visible: Whether a mention, a row, attends to another one, (mentions, mentions): to those that are shown in
            its example, and to itself.
    """

    positions: Tensor
    is_shown: Tensor
    is_visible: Tensor

    @staticmethod
    def of(tokens: PackedTokens, positions: Tensor, is_shown: Tensor) -> "Mentions":
        """Return mentions, with what they attend to."""
        is_visible = same_example(tokens, positions, is_shown)
        return Mentions(positions.long(), is_shown, is_visible)

    def shown(self, values: Tensor) -> Tensor:
        """Return values, (mentions, size), with zeros for mentions whose entity is not fused."""
        return torch.where(self.is_shown[:, None], values, 0.0)


def same_example(tokens: PackedTokens, positions: Tensor, is_counted: Tensor) -> Tensor:
    """Return which mentions are in the example of which, (mentions, mentions).

    Args:
        tokens: Packed sequences.
        positions: Index of the first token of each mention, (mentions,).
        is_counted: Mentions that are in an example, (mentions,); the others are alone with themselves.
    """
    example = torch.searchsorted(tokens.cu_seqlens, positions.to(tokens.cu_seqlens.dtype), right=True)  # (mentions,)
    is_same = (example[:, None] == example) & is_counted[:, None] & is_counted
    return is_same | torch.eye(len(positions), dtype=torch.bool, device=positions.device)


class EntitySide(nn.Module):
    """What a fusing layer has for entities; the layer says when each is used.

    Args:
        config: The encoder's sizes.
        sizes: Sizes of the entities' side.
        has_output: Whether a later layer reads the entities.
    """

    def __init__(self, config: EncoderConfig, sizes: EntitySizes, has_output: bool) -> None:
        super().__init__()
        size, bias = sizes.entity_size, config.use_bias
        self.num_heads = sizes.num_heads
        self.attention_dropout_p = config.attention_probs_dropout_prob
        self.qkv = nn.Linear(size, 3 * size, bias=bias)
        self.attention_output = nn.Linear(size, size, bias=bias)
        self.attention_norm = nn.LayerNorm(size, eps=config.layer_norm_eps, bias=bias)
        width = config.intermediate_size * (2 if config.feed_forward == "gated" else 1)
        self.intermediate = nn.Linear(size, width, bias=False)
        self.output = nn.Linear(config.intermediate_size, size, bias=bias) if has_output else None
        self.output_norm = nn.LayerNorm(size, eps=config.layer_norm_eps, bias=bias) if has_output else None
        self.dropout = Dropout(config.hidden_dropout_prob)
        initialize(self, config)

    def attend(self, vectors: Tensor, mentions: Mentions) -> Tensor:
        """Return what entities are after those of an example have attended to each other, (mentions, entity)."""
        qkv = self.qkv(vectors).unflatten(-1, (3, self.num_heads, -1))  # (mentions, 3, heads, head_dim)
        query, key, value = qkv.permute(1, 2, 0, 3).unsqueeze(1).unbind(0)  # each (1, heads, mentions, head_dim)
        dropout_p = self.attention_dropout_p if self.training else 0.0
        context = F.scaled_dot_product_attention(query, key, value, mentions.is_visible, dropout_p)
        context = context.squeeze(0).transpose(0, 1).flatten(1)  # (mentions, entity)
        return cast(Tensor, self.attention_norm(self.dropout(self.attention_output(context), vectors)))

    def update(self, inner: Tensor, vectors: Tensor) -> Tensor:
        """Return the entities after the layer, (mentions, entity), from `inner`, (mentions, intermediate)."""
        if self.output is None or self.output_norm is None:
            return vectors
        return cast(Tensor, self.output_norm(self.dropout(self.output(inner), vectors)))


class FusingLayer(EncoderLayer):
    """An encoder layer that reads entities beside the first tokens of their mentions; without any, an ordinary one.

    Args:
        config: The encoder's sizes.
        attention: How packed sequences attend to themselves.
        number: The layer, from 0.
        sizes: Sizes of the entities' side.
        has_output: Whether a later layer reads the entities.
    """

    def __init__(
        self, config: EncoderConfig, attention: PackedAttention, number: int, sizes: EntitySizes, has_output: bool
    ) -> None:
        super().__init__(config, attention, number)
        self.entity = EntitySide(config, sizes, has_output)

    def forward(
        self,
        hidden: Tensor,
        tokens: PackedTokens,
        rows: Tensor | None = None,
        mentions: Mentions | None = None,
        vectors: Tensor | None = None,
    ) -> Any:
        """Return what an ordinary layer returns or, with mentions, all tokens and the entities.

        Args:
            hidden: (tokens, hidden).
            tokens: Sequences, one after another.
            rows: Indices of the tokens that are wanted, if there are no mentions.
            mentions: The mentions; None for a text without any.
            vectors: What is known of their entities, (mentions, entity).

        Returns:
            (tokens, hidden), and with mentions (mentions, entity) besides.
        """
        if mentions is None or vectors is None:
            return super().forward(hidden, tokens, rows)
        read, stream = self.attend(hidden, tokens)
        vectors = self.entity.attend(vectors, mentions)
        before = self.intermediate(read)  # (tokens, intermediate)
        update = mentions.shown(self.entity.intermediate(vectors)).to(before.dtype)
        inner = self.activation(before.index_add(0, mentions.positions, update))
        vectors = mentions.shown(self.entity.update(inner.index_select(0, mentions.positions), vectors))
        return self.add_inner(inner, stream), vectors


def fuse(encoder: Encoder, attention: PackedAttention, numbers: Collection[int], sizes: EntitySizes) -> None:
    """Let layers of an encoder fuse entities, in place; what they have of an ordinary layer keeps its weights.

    Args:
        encoder: The encoder; its layers share no weights.
        attention: How packed sequences attend to themselves.
        numbers: The layers, from 0.
        sizes: Sizes of the entities' side.
    """
    for number in numbers:
        layer = FusingLayer(encoder.config, attention, number, sizes, has_output=number != max(numbers))
        layer.load_state_dict(encoder.layers[number].state_dict(), strict=False)
        encoder.layers[number] = layer


def encode_with_entities(
    encoder: Encoder, tokens: PackedTokens, mentions: Mentions, vectors: Tensor, rows: Tensor
) -> Tensor:
    """Encode packed tokens and the entities that they mention.

    Args:
        encoder: An encoder with layers that fuse.
        tokens: Sequences, one after another.
        mentions: The mentions.
        vectors: Vectors of their entities, (mentions, entity).
        rows: Indices of the tokens whose last hidden state is wanted, (rows,).

    Returns:
        (rows, hidden).
    """
    hidden, vectors = encoder.embeddings(tokens), mentions.shown(vectors)
    *earlier, last = encoder.layers_in_order()
    for layer in earlier:
        if isinstance(layer, FusingLayer):
            hidden, vectors = layer(hidden, tokens, None, mentions, vectors)
        else:
            hidden = layer(hidden, tokens)
    if isinstance(last, FusingLayer):
        hidden = last(hidden, tokens, None, mentions, vectors)[0].index_select(0, rows)  # (rows, hidden)
    else:
        hidden = last(hidden, tokens, rows)
    return encoder.finish(hidden)


def fusion_flops(config: EncoderConfig, entity_size: int, num_layers: int, mentions: float) -> float:
    """Return the operations of forward and backward passes on the entities' side.

    The products of entities with each other are left out: their number is not known, and few.

    Args:
        config: The encoder's sizes.
        entity_size: Length of an entity's vector.
        num_layers: Layers that fuse; the last one has no output of entities.
        mentions: Number of mentions.
    """
    matrices = 2 if config.feed_forward == "gated" else 1
    read = 4 * entity_size**2 + matrices * entity_size * config.intermediate_size
    written = config.intermediate_size * entity_size
    return 6.0 * mentions * (num_layers * read + (num_layers - 1) * written)
