"""The small masked language model that an ELECTRA learns from (Clark et al., 2020, section 3.1).

It has the layers of the discriminator, but narrower, and the discriminator's embeddings: tokens, positions, segments
and their LayerNorm. What stands between embeddings and layers is its own.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.embeddings import Embeddings
from bert_lightning.models.encoder import Encoder, initialize
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.looped_attention import looped_attention
from data_pipeline.streams.packed_batch import PackedTokens

_ODD = 0x9E3779B97F4A7C15 - (1 << 64)
"""2^64 divided by the golden ratio, odd, as a signed number."""
_DRAW = 1 << 32
"""What the keys of two draws differ by: more than any position."""


def generator_config(config: EncoderConfig, hidden_size: int) -> EncoderConfig:
    """Return the sizes of a generator.

    Args:
        config: Sizes of the discriminator.
        hidden_size: Width of the generator; its feed-forward networks shrink as the width does, and it has as many
            attention heads of the discriminator's size as fit, as in google-research/electra, or one.

    Raises:
        ValueError: if the width cannot be cut into its attention heads.
    """
    share = hidden_size / config.hidden_size
    heads = max(hidden_size // config.head_dim, 1)
    if hidden_size < 1 or hidden_size % heads:
        raise ValueError(
            f"objective.generator_size makes a generator of hidden_size={hidden_size} with "
            f"num_attention_heads={heads}, of which it is no multiple"
        )
    return replace(
        config,
        hidden_size=hidden_size,
        num_attention_heads=heads,
        intermediate_size=max(round(config.intermediate_size * share), 1),
        embedding_size=config.embedding_width if config.embedding_width != hidden_size else None,
        initialization="bert" if config.initialization == "neighbors" else config.initialization,
    )


class TiedEmbeddings(nn.Module):
    """The embeddings of another encoder, and a linear layer of its own if the layers have another width.

    The other encoder holds the weights: they are in no list of parameters twice.

    Args:
        embeddings: The embeddings of the other encoder.
        config: Sizes of the generator.
    """

    def __init__(self, embeddings: Embeddings, config: EncoderConfig) -> None:
        super().__init__()
        self._source = (embeddings,)  # no submodule
        width, hidden_size = config.embedding_width, config.hidden_size
        self.projection = nn.Linear(width, hidden_size, bias=config.use_bias) if width != hidden_size else None
        initialize(self, config)

    def forward(self, tokens: PackedTokens) -> Tensor:
        """Embed packed tokens; returns (tokens, hidden)."""
        embedded = self._source[0].unprojected(tokens)  # (tokens, embedding)
        return embedded if self.projection is None else self.projection(embedded).to(embedded.dtype)


class Generator(Encoder):
    """An encoder with the embeddings of another one.

    Args:
        config: Sizes of the generator.
        embeddings: The embeddings of the discriminator.
        attention: How packed sequences attend to themselves.
    """

    def __init__(
        self, config: EncoderConfig, embeddings: Embeddings, attention: PackedAttention = looped_attention
    ) -> None:
        super().__init__(config, attention)
        self.add_module("embeddings", TiedEmbeddings(embeddings, config))


def draw_tokens(scores: Tensor, uniform: Tensor, vocab_size: int) -> Tensor:
    """Return a token drawn from the softmax of each row of scores, (rows,).

    The token is that at which the summed probabilities pass a uniform number. Its distribution is that of the highest
    score after Gumbel noise, for one number a row instead of one for each word.

    Args:
        scores: Scores of the words, (rows, padded vocabulary).
        uniform: Numbers in [0, 1), (rows,).
        vocab_size: Words of the vocabulary.
    """
    sums = scores.float().softmax(-1).cumsum(-1)  # (rows, padded vocabulary)
    return torch.searchsorted(sums, uniform[:, None], right=True).squeeze(-1).clamp(max=vocab_size - 1)


def keyed_uniform(tokens: PackedTokens, positions: Tensor, draw: int = 0) -> Tensor:
    """Return a uniform number in [0, 1) for each of some tokens, (rows,), decided by its sequence and its position.

    The masked sequence is the key. It differs from example to example, and the masks from one pass over the corpus to
    the next, so the numbers do too; they depend neither on the batch nor on the rank that an example is in.

    Args:
        tokens: Packed sequences, masked.
        positions: Indices of the tokens, (rows,).
        draw: Number of the draw, from 0; each gives a token another number.
    """
    ids, places = tokens.input_ids.long(), tokens.position_ids.long()
    sums = _mixed(ids * _ODD + places).cumsum(0)  # (tokens,), modulo 2^64
    index = positions.long()
    sequence = torch.searchsorted(tokens.cu_seqlens, positions.to(tokens.cu_seqlens.dtype), right=True)  # (rows,)
    last, first = (tokens.cu_seqlens.long().index_select(0, each) for each in (sequence, sequence - 1))
    ends, begins = (torch.where(each > 0, sums.index_select(0, (each - 1).clamp(min=0)), 0) for each in (last, first))
    key = _mixed((ends - begins) * _ODD + places.index_select(0, index) + draw * _DRAW)
    return ((key >> 40) & 0xFFFFFF).float() * 2.0**-24


def _mixed(values: Tensor) -> Tensor:
    """Return numbers of 64 bits whose every bit depends on all bits of the value (Steele et al., 2014, SplitMix64)."""
    values = (values ^ ((values >> 30) & ((1 << 34) - 1))) * (0xBF58476D1CE4E5B9 - (1 << 64))
    values = (values ^ ((values >> 27) & ((1 << 37) - 1))) * (0x94D049BB133111EB - (1 << 64))
    return values ^ ((values >> 31) & ((1 << 33) - 1))
