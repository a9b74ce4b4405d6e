"""Attention of one causal sequence that grows: keys and values of earlier tokens are kept, so each is computed once."""

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.windows import EVERYTHING, Window


class CachedAttention:
    """A `PackedAttention` for an encoder that reads a sequence piece by piece, the earlier pieces first.

    The layers of an encoder call it one after another, so the calls tell the layers apart, shared ones too.

    Args:
        config: The encoder's sizes; it must be causal.

    Raises:
        ValueError: if the encoder sees later tokens.
    """

    def __init__(self, config: EncoderConfig) -> None:
        if not config.is_causal:
            raise ValueError("model.is_causal=false sees later tokens, so no keys and values can be kept")
        self._num_layers = config.num_hidden_layers
        self.clear()

    def clear(self) -> None:
        """Forget the sequence, before the first piece of another one."""
        self._kept: list[Tensor] = []  # of each layer the keys and values, each (tokens, 2, heads, head_dim)
        self._layer = 0

    def __call__(
        self, qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, window: Window = EVERYTHING
    ) -> Tensor:
        """Return the context of the tokens of a new piece, (tokens, heads, head_dim).

        Args:
            qkv: Query, key and value of the new piece, (tokens, 3, heads, head_dim).
            cu_seqlens: Offsets of the one sequence; not used.
            max_seqlen: Tokens of the new piece; not used.
            dropout_p: Probability of dropout, which is 0 outside training; not used.
            window: How far a token sees.
        """
        if len(self._kept) <= self._layer:
            self._kept.append(qkv[:0, 1:])
        kept = self._kept[self._layer] = torch.cat([self._kept[self._layer], qkv[:, 1:]])
        self._layer = (self._layer + 1) % self._num_layers
        query, key, value = (each.transpose(0, 1) for each in (qkv[:, 0], *kept.unbind(1)))  # (heads, tokens, head_dim)
        position = torch.arange(len(kept), device=qkv.device)
        distance = position - position[-len(qkv) :, None]  # (queries, keys)
        before = window[0] if window[0] >= 0 else len(kept)
        context = F.scaled_dot_product_attention(query, key, value, (distance >= -before) & (distance <= 0))
        return context.transpose(0, 1)
