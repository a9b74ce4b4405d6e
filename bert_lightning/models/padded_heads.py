"""Packed queries, keys or values in rows of sequences, for what compares all pairs of tokens of a sequence."""

import torch
from torch import Tensor

from data_pipeline.streams.packed_batch import PackedTokens


def padded_heads(packed: Tensor, tokens: PackedTokens) -> Tensor:
    """Return packed vectors in rows; what stands behind the end of a sequence is of any value.

    Args:
        packed: (tokens, heads, head_dim).
        tokens: The sequences, one after another.

    Returns:
        (sequences, heads, max_seqlen, head_dim).
    """
    index = _places(tokens).clamp(max=len(packed) - 1)  # (sequences, max_seqlen)
    rows = packed.index_select(0, index.flatten()).unflatten(0, index.shape)
    return rows.transpose(1, 2)  # (sequences, heads, max_seqlen, head_dim)


def real_places(tokens: PackedTokens) -> Tensor:
    """Return which places of the rows hold a token of their sequence, (sequences, max_seqlen)."""
    return _places(tokens) < tokens.cu_seqlens[1:, None]


def _places(tokens: PackedTokens) -> Tensor:
    """Return the index of every place of the rows among the packed tokens, (sequences, max_seqlen)."""
    return tokens.cu_seqlens[:-1, None] + torch.arange(tokens.max_seqlen, device=tokens.cu_seqlens.device)
