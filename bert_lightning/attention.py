"""Attention over packed sequences: tokens of many sequences in one run, none of them sees another.

All tensors are (tokens, heads, head_dim); `cu_seqlens` (sequences + 1,) holds the offset of every sequence and the end.
"""

from collections.abc import Callable
from typing import cast

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
    """Attend to all sequences in one flash-attention kernel; CUDA only, half precision only, no dropout.

    The seven arguments are given by position: what follows them differs between torch 2.11 and 2.13.
    """
    from torch.nn.attention.varlen import varlen_attn

    context = varlen_attn(query, key, value, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
    return cast(Tensor, context)  # a tuple only where more than the context is asked for


def choose_attention(device_type: str, dropout_p: float, is_half_precision: bool) -> PackedAttention:
    """Return the fastest attention that a device has.

    Args:
        device_type: "cuda" or "cpu".
        dropout_p: Attention dropout of the model; the one-kernel attention has none.
        is_half_precision: Whether queries arrive as bfloat16 or float16, as they do under autocast.
    """
    return varlen_attention if device_type == "cuda" and dropout_p == 0.0 and is_half_precision else sdpa_attention
