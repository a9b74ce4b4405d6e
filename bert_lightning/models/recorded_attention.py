"""The queries, keys and values of the layers of an encoder, seen where they enter the attention.

Rotary positions have turned them already. Nothing is computed twice, and no layer knows that it is watched.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder import Encoder
from data_pipeline.streams.packed_batch import PackedTokens


class RecordedAttention:
    """An attention that keeps what it was last given.

    Args:
        attention: The attention that computes.

    Attributes:
        last: Queries, keys and values of its last call, (tokens, 3, heads, head_dim); None before the first call.
    """

    last: Tensor | None = None

    def __init__(self, attention: PackedAttention) -> None:
        self._attention = attention

    def __call__(self, qkv: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """Return the context, (tokens, heads, head_dim)."""
        self.last = qkv
        return self._attention(qkv, *arguments, **options)

    def taken(self) -> Tensor:
        """Return what the last call was given, and keep it no longer."""
        assert self.last is not None
        taken, self.last = self.last, None
        return taken


def recorded_layers(
    encoder: Encoder, recorded: RecordedAttention, tokens: PackedTokens
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the hidden states of the embeddings and of each layer, with queries, keys and values of the layer.

    Args:
        encoder: The encoder, whose attention is `recorded`.
        recorded: Its attention.
        tokens: Sequences, one after another.

    Yields:
        (tokens, hidden), and (tokens, 3, heads, head_dim), which is None for the embeddings.
    """
    states = encoder.hidden_states(tokens)
    yield next(states), None
    for hidden in states:
        yield hidden, recorded.taken()
