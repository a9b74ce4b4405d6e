"""The BERT encoder on packed tokens (Devlin et al., 2019): post-LN, learned positions, segment embeddings, GELU.

Shapes: tokens (all sequences of a micro-batch, one after another), hidden, heads, head_dim = hidden / heads. The file
knows no loss, no device and no framework; how sequences see only themselves is in `attention`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.models.attention import PackedAttention, looped_attention
from bert_lightning.models.dropout import Dropout
from bert_lightning.models.neighbors import check_sizes, look_at_neighbors
from data_pipeline.streams.packing import PackedTokens
from data_pipeline.whole_numbers import check_whole_number

VOCABULARY_MULTIPLE = 64
"""Rows of the token table and columns of the logits are padded to it, for the matrix kernels of GPUs."""

_LARGEST_SIZES = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 16,
    "num_hidden_layers": 1 << 10,
    "num_attention_heads": 1 << 16,
    "intermediate_size": 1 << 18,
    "max_position_embeddings": 1 << 20,
    "type_vocab_size": 1 << 16,
}
"""Far above any BERT, so that a size that makes no sense is an error before it is memory."""
INITIALIZATIONS = ("bert", "neighbors")
"""How weights can begin: as in BERT, or as `look_at_neighbors` changes that."""
ACTIVATIONS = {"gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes and probabilities, in the terms of the published config.json, and how the weights begin."""

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    initialization: str = "bert"

    def __post_init__(self) -> None:
        if self.vocab_size is None:
            raise ValueError("model.vocab_size=null is filled from the tokenizer of the prepared data")
        for name, most in _LARGEST_SIZES.items():
            check_whole_number(f"model.{name}", getattr(self, name))
            if getattr(self, name) > most:
                raise ValueError(f"model.{name}={getattr(self, name)} is above {most}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"model.hidden_size={self.hidden_size} is not a multiple of "
                f"model.num_attention_heads={self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"model.hidden_act={self.hidden_act} is none of {', '.join(ACTIVATIONS)}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"model.{name}={getattr(self, name)} is not a probability below 1")
        for name in ("initializer_range", "layer_norm_eps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"model.{name}={getattr(self, name)} is not positive")
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(f"model.pad_token_id={self.pad_token_id} is not below model.vocab_size={self.vocab_size}")
        if self.initialization not in INITIALIZATIONS:
            raise ValueError(
                f"model.initialization must be one of {', '.join(INITIALIZATIONS)}; got {self.initialization}"
            )
        if self.initialization == "neighbors":
            check_sizes(self.hidden_size, self.num_attention_heads)

    @property
    def padded_vocab_size(self) -> int:
        """`vocab_size` rounded up to a multiple of 64."""
        return -(-self.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    def as_dict(self) -> dict[str, int | float | str]:
        """Return the fields of a config.json as plain values."""
        return {name: getattr(self, name) for name in self.published_fields()}

    @classmethod
    def published_fields(cls) -> list[str]:
        """Return the names that a config.json has too; how the weights began is no property of a trained model."""
        return [field.name for field in fields(cls) if field.name != "initialization"]


def computing_dtype(tensor: Tensor) -> torch.dtype:
    """Return the precision in which matrix products of a tensor are computed: its dtype, or the dtype of autocast.

    The meta device has no autocast and is asked for none. Dynamo of torch 2.11 can follow these calls, but cannot
    follow `torch.amp.is_autocast_available`.
    """
    device = tensor.device.type
    is_autocast = device != "meta" and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if is_autocast else tensor.dtype


class Embeddings(nn.Module):
    """Sum of token, position and segment embeddings, normalized (section 3.2)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.padded_vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, tokens: PackedTokens) -> Tensor:
        """Embed packed tokens; returns (tokens, hidden), in autocast's precision under autocast."""
        embedded = (
            self.token(tokens.input_ids) + self.position(tokens.position_ids) + self.segment(tokens.token_type_ids)
        )
        return self.dropout(self.norm(embedded).to(computing_dtype(embedded)))


class SelfAttention(nn.Module):
    """Multi-head attention of every sequence to itself; query, key and value in one projection."""

    def __init__(self, config: EncoderConfig, attention: PackedAttention) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout_p = config.attention_probs_dropout_prob
        self.attention = attention
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)

    def forward(self, hidden: Tensor, tokens: PackedTokens) -> Tensor:
        """Return the context of every token, (tokens, hidden)."""
        qkv = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1))  # (tokens, 3, heads, head_dim)
        dropout_p = self.dropout_p if self.training else 0.0
        return self.attention(qkv, tokens.cu_seqlens, tokens.max_seqlen, dropout_p).flatten(1)


class EncoderLayer(nn.Module):
    """Attention, then a feed-forward network; a residual connection and LayerNorm after each."""

    def __init__(self, config: EncoderConfig, attention: PackedAttention) -> None:
        super().__init__()
        self.attention = SelfAttention(config, attention)
        self.attention_output = nn.Linear(config.hidden_size, config.hidden_size)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.output_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, tokens: PackedTokens, rows: Tensor | None = None) -> Tensor:
        """Return (tokens, hidden), or only some rows of it; all tokens are attended to either way."""
        context = self.attention(hidden, tokens)
        if rows is not None:
            context, hidden = context.index_select(0, rows), hidden.index_select(0, rows)  # (rows, hidden)
        hidden = self._add(self.attention_norm, self.attention_output(context), hidden)
        return self._add(self.output_norm, self.output(self.activation(self.intermediate(hidden))), hidden)

    def _add(self, norm: nn.LayerNorm, update: Tensor, hidden: Tensor) -> Tensor:
        """Add to the residual stream, which is bf16 under autocast, and normalize; LayerNorm computes in fp32."""
        return norm(self.dropout(update, hidden)).to(update.dtype)


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
        layers = [EncoderLayer(config, attention) for _ in range(config.num_hidden_layers)]
        self.layers = nn.ModuleList(layers)
        initialize(self, config)
        if config.initialization == "neighbors":
            look_at_neighbors(
                self.embeddings.position.weight,
                [layer.attention.qkv.weight for layer in layers],
                config.num_attention_heads,
                config.initializer_range,
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
        for layer in self.layers[:-1]:
            hidden = layer(hidden, tokens)
        return self.layers[-1](hidden, tokens, rows)

    def hidden_states(self, tokens: PackedTokens) -> Iterator[Tensor]:
        """Yield the hidden states of packed tokens, (tokens, hidden): those of the embeddings, then of each layer."""
        hidden = self.embeddings(tokens)
        yield hidden
        for layer in self.layers:
            hidden = layer(hidden, tokens)
            yield hidden


def initialize(module: nn.Module, config: EncoderConfig) -> None:
    """Draw weights from N(0, initializer_range) and zero biases, as google-research/bert does, truncation aside."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=config.initializer_range)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
