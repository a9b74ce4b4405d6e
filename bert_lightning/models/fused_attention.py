"""Attention over packed sequences, with dropout, in fused kernels for GPUs; the kernels are in `attention_kernels`.

The forward pass keeps the context and one number for each query and head. The gradient of query, key and value is
written in the shape in which the fused projection gave them.
"""

from typing import Any, cast

import torch
import triton
from torch import Tensor

from bert_lightning.models.attention_kernels import LOG2_E, PERIOD, forward_kernel, key_value_kernel, query_kernel
from bert_lightning.models.dropout import rounded

SHAPES = {
    forward_kernel: {"rows": 64, "columns": 64, "num_warps": 4, "num_stages": 2},
    query_kernel: {"rows": 64, "columns": 32, "num_warps": 4, "num_stages": 3},
    key_value_kernel: {"rows": 32, "columns": 64, "num_warps": 4, "num_stages": 2},
}
"""Queries and keys of a block, multiples of PERIOD, with the warps and stages that were fastest on an H100."""


def fused_attention(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> Tensor:
    """Attend to all sequences at once; half precision on a GPU only, head dimensions of `attention.FUSED_HEAD_DIMS`."""
    return cast(Tensor, _attend(qkv.contiguous(), cu_seqlens, max_seqlen, dropout_p)[0])


def draw_words(like: Tensor, num_sequences: int) -> Tensor:
    """Draw the words that decide over dropout, (sequences, heads, 2, PERIOD), for `like`, (tokens, 3, heads, ...)."""
    words = like.new_empty(num_sequences, like.shape[2], 2, PERIOD.value, dtype=torch.int32)
    return words.random_(-(1 << 31), 1 << 31)


@torch.library.custom_op("bert_lightning::attend_fused", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _attend(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the context, and for the backward pass the logarithms of the sums of weights, and the random words."""
    context, log_sums = empty_outputs(qkv)
    words = draw_words(qkv, len(cu_seqlens) - 1 if dropout_p else 0)
    launch(forward_kernel, (qkv, context, log_sums), cu_seqlens, words, max_seqlen, dropout_p, "rows")
    return context, log_sums, words


@torch.library.custom_op("bert_lightning::attend_fused_backward", mutates_args=())
def _attend_backward(
    gradient: Tensor, qkv: Tensor, context: Tensor, log_sums: Tensor, words: Tensor, cu_seqlens: Tensor,
    max_seqlen: int, dropout_p: float,
) -> Tensor:  # fmt: skip
    """Return the gradient of `qkv` from the gradient of the context.

    With weights W, mask M of dropout, share k that is kept and context C = (W * M) V / k: dW = (dC V^T) * M / k and
    dS = W * (dW - rowsum(dC * C)). The kernels divide by k last.
    """
    result, row_sums, gradient = torch.empty_like(qkv), torch.empty_like(log_sums), gradient.contiguous()
    last = (cu_seqlens, words, max_seqlen, dropout_p)
    launch(query_kernel, (qkv, context, gradient, log_sums, row_sums, result), *last, "rows")
    launch(key_value_kernel, (qkv, gradient, log_sums, row_sums, result), *last, "columns")
    return result


def launch(
    kernel: Any, tensors: tuple[Tensor, ...], cu_seqlens: Tensor, words: Tensor, max_seqlen: int, dropout_p: float,
    block: str,
) -> None:  # fmt: skip
    """Start a kernel with a program for each block of each head of each sequence.

    Args:
        kernel: One of the keys of SHAPES.
        tensors: Its first arguments; the first one is `qkv` or has its shape.
        cu_seqlens: Offsets of the sequences, (sequences + 1,).
        words: What `draw_words` gave.
        max_seqlen: Length of the longest sequence, or more.
        dropout_p: Probability of being dropped.
        block: "rows" or "columns": what a program takes a block of.
    """
    shape = SHAPES[kernel]
    num_tokens, _, num_heads, head_dim = tensors[0].shape
    grid = (triton.cdiv(max_seqlen, shape[block]), (len(cu_seqlens) - 1) * num_heads)
    scale, cutoff = head_dim**-0.5 * LOG2_E.value, round(rounded(dropout_p) * (1 << 32))
    kernel[grid](*tensors, cu_seqlens, words, num_tokens, scale, cutoff, num_heads, head_dim, **shape)


def empty_outputs(qkv: Tensor) -> tuple[Tensor, Tensor]:
    """Return room for the context, (tokens, heads, head_dim), and for the logarithms of sums, (heads, tokens)."""
    context = qkv.new_empty(qkv.shape[0], *qkv.shape[2:])
    return context, qkv.new_empty(qkv.shape[2], qkv.shape[0], dtype=torch.float32)


@_attend.register_fake
def _(qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float) -> tuple[Tensor, Tensor, Tensor]:
    num_sequences = cu_seqlens.shape[0] - 1 if dropout_p else 0
    return *empty_outputs(qkv), qkv.new_empty(num_sequences, qkv.shape[2], 2, PERIOD.value, dtype=torch.int32)


@_attend_backward.register_fake
def _(
    gradient: Tensor, qkv: Tensor, context: Tensor, log_sums: Tensor, words: Tensor, cu_seqlens: Tensor,
    max_seqlen: int, dropout_p: float,
) -> Tensor:  # fmt: skip
    return torch.empty_like(qkv)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    qkv, cu_seqlens, ctx.max_seqlen, ctx.dropout_p = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(qkv, *output, cu_seqlens)


def _backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor, None, None, None]:
    return _attend_backward(gradient, *ctx.saved_tensors, ctx.max_seqlen, ctx.dropout_p), None, None, None


_attend.register_autograd(_backward, setup_context=_keep)
