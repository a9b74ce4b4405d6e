"""Attention over packed sequences: tokens of many sequences in one run, none of them sees another.

All tensors are (tokens, heads, head_dim); `cu_seqlens` (sequences + 1,) holds the offset of every sequence and the end.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

PackedAttention = Callable[[Tensor, Tensor, Tensor, Tensor, int, float], Tensor]
"""(query, key, value, cu_seqlens, max_seqlen, dropout_p) -> context, (tokens, heads, head_dim)."""


def sdpa_attention(
    query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float
) -> Tensor:
    """Attend sequence by sequence with scaled_dot_product_attention; runs on every device, with dropout.

    Reading the offsets waits for the device, so on a GPU this is the fallback.
    """
    lengths = cu_seqlens.diff().tolist()
    parts = zip(*(tensor.transpose(0, 1).split(lengths, dim=1) for tensor in (query, key, value)), strict=True)
    contexts = [
        F.scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=dropout_p)[0]
        for q, k, v in parts
        if q.shape[1]
    ]
    return torch.cat(contexts, dim=1).transpose(0, 1)  # (tokens, heads, head_dim)


def varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float
) -> Tensor:
    """Attend to all sequences in one flash-attention kernel; CUDA only, half precision only, no dropout."""
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(query, key, value, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)


def choose_attention(device_type: str, dropout_p: float) -> PackedAttention:
    """Return the fastest attention that a device has for a dropout probability."""
    return varlen_attention if device_type == "cuda" and dropout_p == 0.0 else sdpa_attention
