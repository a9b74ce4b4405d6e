"""Attention over packed sequences: tokens of many sequences in one run, none of them sees another.

All functions take `qkv` (tokens, 3, heads, head_dim), the fused projection's query, key and value, and `cu_seqlens`
(sequences + 1,), the offset of every sequence and the end; they return (tokens, heads, head_dim).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from bert_lightning.models.dropout import dropout_mask, rounded

PackedAttention = Callable[[Tensor, Tensor, int, float], Tensor]
"""(qkv, cu_seqlens, max_seqlen, dropout_p) -> context, (tokens, heads, head_dim)."""


def looped_attention(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> Tensor:
    """Attend sequence by sequence with plain matrix products: every device and precision.

    Reading the offsets waits for the device, so on a GPU this is the fallback. On CPUs it takes a third of the time of
    scaled_dot_product_attention, whose backward pass is slow there, and which has no kernel with dropout.
    """
    return _attend_each(qkv, cu_seqlens, max_seqlen, dropout_p)[0]


@torch.library.custom_op("bert_lightning::attend_each", mutates_args=())
def _attend_each(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the context, and for the backward pass the weights of attention and the mask of dropout.

    One operation for the compiler, which cannot follow a loop over lengths. Weights and mask have room for sequences
    of full length; what is not used of it is never touched.
    """
    context = qkv.new_empty(qkv.shape[0], *qkv.shape[2:])
    weights, mask = _room(qkv, max_seqlen, dropout_p)
    for tokens, square in _sequences(cu_seqlens, qkv.shape[2]):
        query, key, value = qkv[tokens].permute(1, 2, 0, 3)  # (heads, length, head_dim)
        scores = torch.baddbmm(query.new_empty(()), query, key.mT, beta=0, alpha=query.shape[-1] ** -0.5)
        own = weights[square].view_as(scores)
        torch.softmax(scores, -1, out=own)
        if dropout_p:
            own = own * dropout_mask(own, dropout_p, out=mask[square].view_as(own))
        context[tokens] = torch.bmm(own, value).transpose(0, 1)
    return context.mul_(1 / (1 - rounded(dropout_p))) if dropout_p else context, weights, mask


@torch.library.custom_op("bert_lightning::attend_each_backward", mutates_args=())
def _attend_each_backward(
    gradient: Tensor, qkv: Tensor, cu_seqlens: Tensor, weights: Tensor, mask: Tensor, dropout_p: float
) -> Tensor:
    """Return the gradient of `qkv`."""
    result = torch.empty_like(qkv)
    scale = qkv.shape[-1] ** -0.5
    for tokens, square in _sequences(cu_seqlens, qkv.shape[2]):
        query, key, value = qkv[tokens].permute(1, 2, 0, 3)  # (heads, length, head_dim)
        of_query, of_key, of_value = result[tokens].permute(1, 2, 0, 3)
        above = gradient[tokens].transpose(0, 1) * (1 / (1 - rounded(dropout_p)))
        own = weights[square].view(len(query), query.shape[1], query.shape[1])
        kept = mask[square].view_as(own) if dropout_p else None
        of_value.copy_(torch.bmm((own if kept is None else own * kept).mT, above))
        of_weights = torch.bmm(above, value.mT)
        if kept is not None:
            of_weights.mul_(kept)
        of_scores = torch._softmax_backward_data(of_weights, own, -1, own.dtype)
        of_query.copy_(torch.baddbmm(of_query.new_empty(()), of_scores, key, beta=0, alpha=scale))
        of_key.copy_(torch.baddbmm(of_key.new_empty(()), of_scores.mT, query, beta=0, alpha=scale))
    return result


def _room(qkv: Tensor, max_seqlen: int, dropout_p: float) -> tuple[Tensor, Tensor]:
    size = qkv.shape[0] * qkv.shape[2] * max_seqlen
    return qkv.new_empty(size), qkv.new_empty(size if dropout_p else 0)


def _sequences(cu_seqlens: Tensor, num_heads: int) -> list[tuple[slice, slice]]:
    """Return for each sequence that is not empty its tokens, and its place among the weights of all."""
    places, first = [], 0
    for begin, end in pairwise(cu_seqlens.tolist()):
        size = num_heads * (end - begin) ** 2
        if size:
            places.append((slice(begin, end), slice(first, first + size)))
        first += size
    return places


@_attend_each.register_fake
def _(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> tuple[Tensor, Tensor, Tensor]:
    return qkv.new_empty(qkv.shape[0], *qkv.shape[2:]), *_room(qkv, max_seqlen, dropout_p)


@_attend_each_backward.register_fake
def _(gradient: Tensor, qkv: Tensor, cu_seqlens: Tensor, weights: Tensor, mask: Tensor, dropout_p: float) -> Tensor:
    return torch.empty_like(qkv)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    qkv, cu_seqlens, _, ctx.dropout_p = inputs
    _, weights, mask = output
    ctx.mark_non_differentiable(weights, mask)
    ctx.save_for_backward(qkv, cu_seqlens, weights, mask)


def _backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor, None, None, None]:
    qkv, cu_seqlens, weights, mask = ctx.saved_tensors
    return _attend_each_backward(gradient, qkv, cu_seqlens, weights, mask, ctx.dropout_p), None, None, None


_attend_each.register_autograd(_backward, setup_context=_keep)


def varlen_attention(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> Tensor:
    """Attend to all sequences in one flash-attention kernel; CUDA only, half precision only, no dropout.

    The seven arguments are given by position: what follows them differs between torch 2.11 and 2.13.
    """
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = qkv.unbind(1)
    context = varlen_attn(query, key, value, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
    return cast(Tensor, context)  # a tuple only where more than the context is asked for


def flash_attention(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> Tensor:
    """Attend with the operation beneath `varlen_attn`, which has dropout; CUDA only, half precision only."""
    query, key, value = qkv.unbind(1)
    ends = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
    found = torch.ops.aten._flash_attention_forward(query, key, value, *ends, dropout_p, False, False)
    return cast(Tensor, found[0])


def choose_attention(device_type: str, dropout_p: float, is_half_precision: bool) -> PackedAttention:
    """Return the fastest attention that a device has.

    Args:
        device_type: "cuda" or "cpu".
        dropout_p: Attention dropout of the model; the documented one-kernel attention has none.
        is_half_precision: Whether queries arrive as bfloat16 or float16, as they do under autocast.
    """
    if device_type != "cuda" or not is_half_precision:
        return looped_attention
    return flash_attention if dropout_p else varlen_attention
