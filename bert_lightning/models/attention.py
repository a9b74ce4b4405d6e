"""Attention over packed sequences: the tokens of many sequences stand one after another, and none sees another one.

All functions take `qkv`, the query, key and value of the fused projection, (tokens, 3, heads, head_dim), and
`cu_seqlens`, the offset of every sequence and the end of the last, (sequences + 1,). They return the context,
(tokens, heads, head_dim).
"""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.models.windows import EVERYTHING, Window, visible
from data_pipeline.untrusted.internals import check_internal

check_internal(torch.ops.aten, "_flash_attention_forward", "torch 2.11 and 2.13")

log = logging.getLogger(__name__)
PackedAttention = Callable[..., Tensor]
"""(qkv, cu_seqlens, max_seqlen, dropout_p) -> context, (tokens, heads, head_dim).

A model in which tokens do not see all of their sequence gives a `window` besides.
"""
FLASH_MULTIPLE, FLASH_MOST = 8, 256
"""Head dimensions that flash attention takes: multiples of the first up to the second."""
FUSED_HEAD_DIMS = (16, 32, 64)
"""Head dimensions of `fused_attention`."""


def padded_attention(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, window: Window = EVERYTHING
) -> Tensor:
    """Attend to sequences padded to `max_seqlen`, with torch's kernels: any GPU, any precision, nothing is waited for.

    Padding costs memory and time: batches that are half full take about twice of both in this function. Sequences of
    3 and 2 tokens with max_seqlen=4 stand in rows 0, 1, 2 and 4, 5 of eight.
    """
    num_sequences = len(cu_seqlens) - 1
    token = torch.arange(len(qkv), device=qkv.device)  # (tokens,)
    sequence = torch.searchsorted(cu_seqlens, token, right=True) - 1  # (tokens,), never an empty sequence
    row = sequence * max_seqlen + token - cu_seqlens[sequence]  # (tokens,)
    padded = qkv.new_zeros(num_sequences * max_seqlen, *qkv.shape[1:]).index_copy(0, row, qkv)
    padded = padded.unflatten(0, (num_sequences, max_seqlen))  # (sequences, max_seqlen, 3, heads, head_dim)
    query, key, value = padded.permute(2, 0, 3, 1, 4)  # each (sequences, heads, max_seqlen, head_dim)
    lengths = cu_seqlens.diff().clamp(min=1)  # an empty sequence attends to a row of zeros, not to nothing
    is_real = torch.arange(max_seqlen, device=qkv.device) < lengths[:, None]  # (sequences, max_seqlen)
    mask = is_real[:, None]  # (sequences, 1, keys), for all queries
    if window != EVERYTHING:
        itself = torch.eye(max_seqlen, dtype=torch.bool, device=qkv.device)  # a row of padding must see something
        mask = (mask & visible(max_seqlen, window, qkv.device)) | itself  # (sequences, queries, keys)
    context = F.scaled_dot_product_attention(query, key, value, mask[:, None], dropout_p)
    return context.transpose(1, 2).flatten(0, 1).index_select(0, row)  # (tokens, heads, head_dim)


def varlen_attention(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, window: Window = EVERYTHING
) -> Tensor:
    """Attend to all sequences in one flash-attention kernel; CUDA only, half precision only, no dropout.

    Seven arguments are given by position: what follows them differs between torch 2.11 and 2.13, but for `window_size`.
    """
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = qkv.unbind(1)  # each (tokens, heads, head_dim)
    offsets = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
    return cast(Tensor, varlen_attn(query, key, value, *offsets, window_size=window))  # no tuple, unless asked for


def flash_attention(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, window: Window = EVERYTHING
) -> Tensor:
    """Attend with the operation beneath `varlen_attn`, which has dropout; CUDA only, half precision only."""
    query, key, value = qkv.unbind(1)  # each (tokens, heads, head_dim)
    return flash_context(query, key, value, cu_seqlens, max_seqlen, dropout_p, window)


def flash_context(
    query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float,
    window: Window = EVERYTHING,
) -> Tensor:  # fmt: skip
    """Return the context of queries, keys and values that are apart, each (tokens, heads, head_dim), as the context is.

    The operation has no public name.
    """
    offsets = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
    is_causal, (before, after) = window == (-1, 0), window
    outputs = torch.ops.aten._flash_attention_forward(
        query, key, value, *offsets, dropout_p, is_causal, False, window_size_left=before, window_size_right=after
    )
    return cast(Tensor, outputs[0])


def attention_of(config: EncoderConfig, device_type: str, is_half_precision: bool) -> PackedAttention:
    """Return the fastest attention for an encoder that is trained; see `choose_attention`."""
    dropout_p = config.attention_probs_dropout_prob
    return choose_attention(device_type, dropout_p, is_half_precision, config.head_dim, config.has_windows)


def choose_attention(
    device_type: str,
    dropout_p: float,
    is_half_precision: bool,
    head_dim: int = FLASH_MULTIPLE,
    has_windows: bool = False,
) -> PackedAttention:
    """Return the fastest attention that a device has; docs/benchmarks/README.md has the measurements.

    In half precision on a GPU a line says if the fast kernels do not take the head dimension.

    Args:
        device_type: "cuda" or "cpu".
        dropout_p: Attention dropout of the model; the documented one-kernel attention has none.
        is_half_precision: Whether queries arrive as bfloat16 or float16, as they do under autocast.
        head_dim: hidden_size / num_attention_heads.
        has_windows: Whether a `window` will be given, which the fused kernels do not take.
    """
    if device_type != "cuda":
        return looped_attention
    if not is_half_precision:
        return padded_attention
    if head_dim % FLASH_MULTIPLE or head_dim > FLASH_MOST:
        log.info(
            "hidden_size / num_attention_heads = %d: the fast attention kernels take multiples of %d up to %d, so "
            "attention pads its sequences, which costs time and memory",
            *(head_dim, FLASH_MULTIPLE, FLASH_MOST),
        )
        return padded_attention
    if head_dim in FUSED_HEAD_DIMS and not has_windows and find_spec("triton") is not None:
        from bert_lightning.models.fused_attention import fused_attention

        return fused_attention
    return flash_attention if dropout_p else varlen_attention
