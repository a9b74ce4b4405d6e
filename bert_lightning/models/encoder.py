"""The BERT encoder on packed tokens (Devlin et al., 2019), and its relatives, as `EncoderConfig` says.

Shapes: tokens (all sequences of a micro-batch, one after another), hidden, heads, head_dim = hidden / heads. The file
knows no loss, no device and no framework; how sequences see only themselves is in `attention`.
"""

from collections.abc import Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from bert_lightning.models.activations import ACTIVATIONS, gated
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.dropout import Dropout
from bert_lightning.models.embeddings import Embeddings, computing_dtype
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.neighbors import look_at_neighbors
from bert_lightning.models.residual import add_and_normalize, project_and_activate
from bert_lightning.models.rotary import rotate
from bert_lightning.models.windows import EVERYTHING
from data_pipeline.streams.packed_batch import PackedTokens

_HALVES = {
    "attention": ("attention", "attention_output", "attention_norm"),
    "feed_forward": ("intermediate", "output", "output_norm"),
}
"""The two halves of a layer, by the names that `shared_parameters` has for them."""


class SelfAttention(nn.Module):
    """Multi-head attention of every sequence to itself; query, key and value in one projection.

    Args:
        config: The encoder's sizes.
        attention: How packed sequences attend to themselves.
        number: The layer, from 0, which decides how far a token sees.
    """

    def __init__(self, config: EncoderConfig, attention: PackedAttention, number: int) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout_p = config.attention_probs_dropout_prob
        window = config.window_of(number)
        self.attention = attention if window == EVERYTHING else partial(attention, window=window)
        self.theta = config.theta_of(number)
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.use_bias)

    def forward(self, hidden: Tensor, tokens: PackedTokens) -> Tensor:
        """Return the context of every token, (tokens, hidden)."""
        qkv = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1))  # (tokens, 3, heads, head_dim)
        if self.theta is not None:
            qkv = rotate(qkv, tokens.position_ids, self.theta)
        dropout_p = self.dropout_p if self.training else 0.0
        return self.attention(qkv, tokens.cu_seqlens, tokens.max_seqlen, dropout_p).flatten(1)


class EncoderLayer(nn.Module):
    """Attention, then a feed-forward network; a residual connection around each, LayerNorm after or before each.

    Args:
        config: The encoder's sizes.
        attention: How packed sequences attend to themselves.
        number: The layer, from 0.
    """

    def __init__(self, config: EncoderConfig, attention: PackedAttention, number: int) -> None:
        super().__init__()
        hidden_size, bias = config.hidden_size, config.use_bias
        is_gated = config.feed_forward == "gated"
        norm = partial(nn.LayerNorm, hidden_size, eps=config.layer_norm_eps, bias=bias)
        self.is_pre = config.norm == "pre"
        self.attention = SelfAttention(config, attention, number)
        self.attention_output = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.attention_norm = nn.Identity() if config.reads_normalized(number) else norm()
        self.intermediate = nn.Linear(hidden_size, config.intermediate_size * (2 if is_gated else 1), bias=bias)
        self.output = nn.Linear(config.intermediate_size, hidden_size, bias=bias)
        self.output_norm = norm()
        activation = ACTIVATIONS[config.hidden_act]
        self.activation = gated(activation) if is_gated else activation
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, tokens: PackedTokens, rows: Tensor | None = None) -> Tensor:
        """Return (tokens, hidden), or only some rows of it; all tokens are attended to either way."""
        read, stream = self.attend(hidden, tokens, rows)
        return self.add_inner(project_and_activate(self.intermediate, self.activation, read), stream)

    def attend(self, hidden: Tensor, tokens: PackedTokens, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the feed-forward network reads, and the residual stream that it adds to, each (rows, hidden)."""
        context = self.attention(self._read(self.attention_norm, hidden), tokens)
        if rows is not None:
            context, hidden = context.index_select(0, rows), hidden.index_select(0, rows)  # (rows, hidden)
        hidden, stream = self._add(self.attention_output, self.attention_norm, context, hidden, num_readers=2)
        return self._read(self.output_norm, hidden), stream

    def add_inner(self, inner: Tensor, stream: Tensor) -> Tensor:
        """Add what the feed-forward network has between its two matrices, (rows, intermediate), to the stream."""
        return self._add(self.output, self.output_norm, inner, stream)[0]

    def _read(self, norm: nn.Module, hidden: Tensor) -> Tensor:
        """Return what a half of the layer reads: the residual stream, normalized if LayerNorm comes before."""
        return norm(hidden) if self.is_pre else hidden

    def _add(
        self, linear: nn.Linear, norm: nn.Module, inputs: Tensor, hidden: Tensor, num_readers: int = 1
    ) -> tuple[Tensor, ...]:
        """Add a projection to the residual stream and normalize if LayerNorm comes after; once for each reader.

        Under autocast a stream that is normalized is bf16, and one that only grows is fp32.
        """
        if not self.is_pre:
            return add_and_normalize(linear, cast(nn.LayerNorm, norm), self.dropout, inputs, hidden, num_readers)
        return (self.dropout(linear(inputs), hidden),) * num_readers


class Encoder(nn.Module):
    """Embeddings and a stack of layers.

    Args:
        config: Sizes and probabilities.
        attention: How packed sequences attend to themselves; see `attention.choose_attention`.
    """

    def __init__(self, config: EncoderConfig, attention: PackedAttention = looped_attention) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(make_layers(config, attention))
        norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, bias=config.use_bias)
        self.norm = norm if config.norm == "pre" else None
        initialize(self, config)
        if config.initialization == "scaled_residual":
            scale_residuals(self.layers_in_order())
        if config.initialization == "neighbors":
            look_at_neighbors(
                cast(nn.Embedding, self.embeddings.position).weight,
                [layer.attention.qkv.weight for layer in self.layers_in_order()],
                config.num_attention_heads,
                config.initializer_range,
                num_tables=3 if config.type_vocab_size else 2,
            )
        self._zero_padding()

    def _zero_padding(self) -> None:
        with torch.no_grad():
            self.embeddings.token.weight[self.config.vocab_size :] = 0
            self.embeddings.token.weight[self.config.pad_token_id] = 0

    def forward(self, tokens: PackedTokens, rows: Tensor | None = None) -> Tensor:
        """Encode packed tokens.

        Args:
            tokens: Sequences, one after another.
            rows: Indices of the tokens whose last hidden state is wanted, (rows,). The last layer's output projection,
                LayerNorms and feed-forward network then run on these alone: with 15% masked tokens most of the layer
                is saved.

        Returns:
            (tokens, hidden), or (rows, hidden) if rows are given.
        """
        hidden = self.embeddings(tokens)
        *earlier, last = self.layers_in_order()
        for layer in earlier:
            hidden = layer(hidden, tokens)
        return self.finish(last(hidden, tokens, rows))

    def hidden_states(self, tokens: PackedTokens) -> Iterator[Tensor]:
        """Yield the hidden states of packed tokens, (tokens, hidden): those of the embeddings, then of each layer."""
        hidden = self.embeddings(tokens)
        yield hidden
        *earlier, last = self.layers_in_order()
        for layer in earlier:
            hidden = layer(hidden, tokens)
            yield hidden
        yield self.finish(last(hidden, tokens))

    def finish(self, hidden: Tensor) -> Tensor:
        """Normalize the end of a residual stream that no layer has normalized."""
        return hidden if self.norm is None else self.norm(hidden).to(computing_dtype(hidden))

    def layers_in_order(self) -> list[EncoderLayer]:
        """Return the layers in the order in which tokens pass through them; a shared one is there several times."""
        layers = [cast(EncoderLayer, layer) for layer in self.layers]
        if self.config.shared_parameters != "all":
            return layers
        return [layers[self.config.group_of(number)] for number in range(self.config.num_hidden_layers)]


def make_layers(config: EncoderConfig, attention: PackedAttention) -> list[EncoderLayer]:
    """Return new layers: one for each group that shares all weights, else one for each layer.

    If groups share one half of a layer, the others of a group have that half of the first one.
    """
    if config.shared_parameters == "all":
        return [EncoderLayer(config, attention, number) for number in range(config.num_hidden_groups)]
    layers = [EncoderLayer(config, attention, number) for number in range(config.num_hidden_layers)]
    firsts: dict[int, EncoderLayer] = {}
    for number, layer in enumerate(layers):
        first = firsts.setdefault(config.group_of(number), layer)
        for name in _HALVES.get(config.shared_parameters, ()):
            setattr(layer, name, getattr(first, name))
    return layers


@torch.no_grad()
def scale_residuals(layers: list[EncoderLayer]) -> None:
    """Divide the matrices that add to the residual stream by sqrt(2 layers), each once (Radford et al., 2019)."""
    weights = {weight for layer in layers for weight in (layer.attention_output.weight, layer.output.weight)}
    for weight in weights:
        weight.div_((2 * len(layers)) ** 0.5)


def initialize(module: nn.Module, config: EncoderConfig) -> None:
    """Draw weights from N(0, initializer_range) and zero biases, as google-research/bert does, truncation aside."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=config.initializer_range)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
