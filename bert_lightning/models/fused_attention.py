"""Attention over packed sequences, with dropout, in fused kernels for GPUs; the kernels are in `attention_kernels`.

The forward pass keeps the context and one number for each query and head. The gradient of query, key and value is
written in the shape in which the fused projection gave them.
"""

from typing import Any, cast

import torch
import triton
from torch import Tensor

from bert_lightning.models.attention_kernels import LOG2_E, PERIOD, forward_kernel, key_value_kernel, query_kernel
from bert_lightning.models.dropout import random_words, rounded

SHAPES = {
    forward_kernel: {"rows": 64, "columns": 64, "num_warps": 4, "num_stages": 2},
    query_kernel: {"rows": 64, "columns": 32, "num_warps": 4, "num_stages": 3},
    key_value_kernel: {"rows": 32, "columns": 64, "num_warps": 4, "num_stages": 2},
}
"""Queries and keys of a block, multiples of PERIOD, with the warps and stages that were fastest on an H100."""


def fused_attention(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> Tensor:
    """Attend to all sequences at once; half precision on a GPU only, head dimensions of `attention.FUSED_HEAD_DIMS`."""
    words = draw_words(qkv, cu_seqlens.shape[0] - 1 if dropout_p else 0)
    return cast(Tensor, attend(qkv.contiguous(), cu_seqlens, words, max_seqlen, dropout_p)[0])


def draw_words(like: Tensor, num_sequences: int) -> Tensor:
    """Draw the words that decide over dropout, (sequences, heads, 2, PERIOD), for `like`, (tokens, 3, heads, ...)."""
    return random_words((num_sequences, like.shape[2], 2, PERIOD.value), like)


@torch.library.custom_op("bert_lightning::attend_fused", mutates_args=())
def attend(qkv: Tensor, cu_seqlens: Tensor, words: Tensor, max_seqlen: int, dropout_p: float) -> tuple[Tensor, Tensor]:
    """Return the context, and the logarithms of the sums of weights, which the backward pass needs."""
    context, log_sums = empty_outputs(qkv)
    grid = grid_of(qkv, cu_seqlens, max_seqlen, SHAPES[forward_kernel]["rows"])
    forward_kernel[grid](
        qkv, context, log_sums, cu_seqlens, words, *constants_of(qkv, dropout_p), **SHAPES[forward_kernel]
    )
    return context, log_sums


@torch.library.custom_op("bert_lightning::attend_fused_backward", mutates_args=())
def attend_backward(
    gradient: Tensor, qkv: Tensor, context: Tensor, log_sums: Tensor, words: Tensor, cu_seqlens: Tensor,
    max_seqlen: int, dropout_p: float,
) -> Tensor:  # fmt: skip
    """Return the gradient of `qkv` from the gradient of the context.

    With weights W, mask M of dropout, share k that is kept and context C = (W * M) V / k: dW = (dC V^T) * M / k and
    dS = W * (dW - rowsum(dC * C)). The kernels divide by k last.
    """
    result, row_sums, gradient = torch.empty_like(qkv), torch.empty_like(log_sums), gradient.contiguous()
    constants = constants_of(qkv, dropout_p)
    grid = grid_of(qkv, cu_seqlens, max_seqlen, SHAPES[query_kernel]["rows"])
    query_kernel[grid](
        qkv, context, gradient, log_sums, row_sums, result, cu_seqlens, words, *constants, **SHAPES[query_kernel]
    )
    grid = grid_of(qkv, cu_seqlens, max_seqlen, SHAPES[key_value_kernel]["columns"])
    key_value_kernel[grid](
        qkv, gradient, log_sums, row_sums, result, cu_seqlens, words, *constants, **SHAPES[key_value_kernel]
    )
    return result


def grid_of(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, block: int) -> tuple[int, int, int]:
    """Return how many programs there are: one for each block of each head of each of at most 65,535 sequences."""
    return triton.cdiv(max_seqlen, block), qkv.shape[2], cu_seqlens.shape[0] - 1


def constants_of(qkv: Tensor, dropout_p: float) -> tuple[int, float, int, int, int]:
    """Return the kernels' numbers: of tokens, scale, cutoff of dropout, of heads, head dimension."""
    num_tokens, _, num_heads, head_dim = qkv.shape
    return num_tokens, head_dim**-0.5 * LOG2_E.value, round(rounded(dropout_p) * (1 << 32)), num_heads, head_dim


def empty_outputs(qkv: Tensor) -> tuple[Tensor, Tensor]:
    """Return room for the context, (tokens, heads, head_dim), and for the logarithms of sums, (heads, tokens)."""
    context = qkv.new_empty(qkv.shape[0], *qkv.shape[2:])
    return context, qkv.new_empty(qkv.shape[2], qkv.shape[0], dtype=torch.float32)


@attend.register_fake
def _(qkv: Tensor, cu_seqlens: Tensor, words: Tensor, max_seqlen: int, dropout_p: float) -> tuple[Tensor, Tensor]:
    return empty_outputs(qkv)


@attend_backward.register_fake
def _(
    gradient: Tensor, qkv: Tensor, context: Tensor, log_sums: Tensor, words: Tensor, cu_seqlens: Tensor,
    max_seqlen: int, dropout_p: float,
) -> Tensor:  # fmt: skip
    return torch.empty_like(qkv)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, cu_seqlens, words, ctx.max_seqlen, ctx.dropout_p = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(qkv, *output, words, cu_seqlens)


def _backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor, None, None, None, None]:
    gradient = attend_backward(gradient, *ctx.saved_tensors, ctx.max_seqlen, ctx.dropout_p)
    return gradient, None, None, None, None


attend.register_autograd(_backward, setup_context=_keep)
