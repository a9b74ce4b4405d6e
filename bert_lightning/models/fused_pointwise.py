"""What stands between the matrix products of a layer, in one kernel each way, for GPUs; see `pointwise_kernels`."""

from typing import Any, cast

import torch
import triton
from torch import Tensor

from bert_lightning.models.dropout import random_words, rounded
from bert_lightning.models.pointwise_kernels import (
    gelu_backward_kernel,
    gelu_kernel,
    normalize_backward_kernel,
    normalize_kernel,
)

SHAPES = {
    normalize_kernel: {"rows": 4, "num_warps": 4},
    normalize_backward_kernel: {"rows": 1, "num_warps": 2},
    gelu_kernel: {"rows": 8, "columns": 512, "num_warps": 4},
    gelu_backward_kernel: {"rows": 8, "columns": 256, "num_warps": 4},
}
"""Tokens and features of a block, with the warps that were fastest on an H200."""
SHARES = {normalize_backward_kernel: 1056, gelu_backward_kernel: 132}
"""Programs that share the tokens in kernels that sum over them."""


def add_and_normalize(
    update: Tensor, bias: Tensor, residual: Tensor, weight: Tensor, shift: Tensor, eps: float, dropout_p: float,
    num_readers: int = 1,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return LayerNorm(residual + dropout(update + bias)), (tokens, hidden), once for each of one or two readers.

    The kernel of the backward pass adds the gradients of two readers.
    """
    rows = update.contiguous(), bias, residual.contiguous()
    results = _Normalize.apply(*rows, weight, shift, eps, dropout_p, num_readers)
    return cast("tuple[Tensor, ...]", results)


def biased_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Return GELU(x + bias), (tokens, intermediate)."""
    return cast(Tensor, _BiasedGelu.apply(x.contiguous(), bias))


def draw_words(like: Tensor, dropout_p: float) -> Tensor:
    """Draw the two words that decide over dropout; none without dropout."""
    return random_words((2 if _cutoff(dropout_p) else 0,), like)


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, update: Tensor, bias: Tensor, residual: Tensor, weight: Tensor, shift: Tensor, eps: float,
        dropout_p: float, num_readers: int,
    ) -> Any:  # fmt: skip
        words = draw_words(update, dropout_p)
        result, *kept = normalize(update, bias, residual, weight, shift, words, eps, dropout_p)
        ctx.save_for_backward(*kept, words, weight)
        ctx.dropout_p = dropout_p
        return (result,) if num_readers == 1 else (result, result.view_as(result))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        added, means, inverse_deviations, words, weight = ctx.saved_tensors
        d_update, d_residual, sums = normalize_backward(
            [gradient.contiguous() for gradient in gradients],
            added,
            means,
            inverse_deviations,
            words,
            weight,
            ctx.dropout_p,
        )
        of_weight, of_shift, of_bias = sums.sum(0).to(weight.dtype).unbind(0)  # each (hidden,)
        of_update = d_update if _cutoff(ctx.dropout_p) else d_residual
        return of_update, of_bias, d_residual, of_weight, of_shift, None, None, None


class _BiasedGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, bias)
        return cast(Tensor, gelu(x, bias))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, bias = ctx.saved_tensors
        d_x, sums = gelu_backward(gradient.contiguous(), x, bias)
        return d_x, sums.sum(0).to(bias.dtype)


@torch.library.custom_op("bert_lightning::add_and_normalize", mutates_args=())
def normalize(
    update: Tensor, bias: Tensor, residual: Tensor, weight: Tensor, shift: Tensor, words: Tensor, eps: float,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the result; for the backward pass what was normalized, means and inverse deviations."""
    result, added, means, inverse_deviations = _empty_outputs(update)
    num_tokens, hidden = update.shape
    grid = (triton.cdiv(num_tokens, SHAPES[normalize_kernel]["rows"]),)
    normalize_kernel[grid](
        update, bias, residual, weight, shift, words, added, result, means, inverse_deviations, num_tokens, eps,
        _cutoff(dropout_p), hidden, triton.next_power_of_2(hidden), **SHAPES[normalize_kernel],
    )  # fmt: skip
    return result, added, means, inverse_deviations


@torch.library.custom_op("bert_lightning::add_and_normalize_backward", mutates_args=())
def normalize_backward(
    gradients: list[Tensor], added: Tensor, means: Tensor, inverse_deviations: Tensor, words: Tensor, weight: Tensor,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of update, empty without dropout, and residual; sums for weight, shift and bias."""
    d_update, d_residual, sums = _empty_gradients(added, dropout_p)
    num_tokens, hidden = added.shape
    normalize_backward_kernel[(sums.shape[0],)](
        gradients[0], gradients[-1], added, means, inverse_deviations, weight, words, d_update, d_residual, sums,
        num_tokens, _cutoff(dropout_p), len(gradients) > 1, hidden, triton.next_power_of_2(hidden),
        **SHAPES[normalize_backward_kernel],
    )  # fmt: skip
    return d_update, d_residual, sums


@torch.library.custom_op("bert_lightning::biased_gelu", mutates_args=())
def gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Return GELU(x + bias)."""
    result, (num_tokens, width), shape = torch.empty_like(x), x.shape, SHAPES[gelu_kernel]
    grid = (triton.cdiv(num_tokens, shape["rows"]), triton.cdiv(width, shape["columns"]))
    gelu_kernel[grid](x, bias, result, num_tokens, width, **shape)
    return result


@torch.library.custom_op("bert_lightning::biased_gelu_backward", mutates_args=())
def gelu_backward(gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of x, and sums for the bias."""
    result, sums = _empty_gelu_gradients(x)
    (num_tokens, width), shape = x.shape, SHAPES[gelu_backward_kernel]
    grid = (sums.shape[0], triton.cdiv(width, shape["columns"]))
    gelu_backward_kernel[grid](gradient, x, bias, result, sums, num_tokens, width, **shape)
    return result, sums


def _cutoff(dropout_p: float) -> int:
    """Return what a random number of 32 bits must reach for an element to be kept; 0 keeps all."""
    return round(rounded(dropout_p) * (1 << 32))


def _empty_outputs(update: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    means = update.new_empty(update.shape[0], dtype=torch.float32)
    return torch.empty_like(update), torch.empty_like(update), means, torch.empty_like(means)


def _empty_gradients(added: Tensor, dropout_p: float) -> tuple[Tensor, Tensor, Tensor]:
    d_update = torch.empty_like(added) if _cutoff(dropout_p) else added.new_empty(0)
    sums = added.new_empty(SHARES[normalize_backward_kernel], 3, added.shape[1], dtype=torch.float32)
    return d_update, torch.empty_like(added), sums


def _empty_gelu_gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(SHARES[gelu_backward_kernel], x.shape[1], dtype=torch.float32)


@normalize.register_fake
def _(
    update: Tensor, bias: Tensor, residual: Tensor, weight: Tensor, shift: Tensor, words: Tensor, eps: float,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return _empty_outputs(update)


@normalize_backward.register_fake
def _(
    gradients: list[Tensor], added: Tensor, means: Tensor, inverse_deviations: Tensor, words: Tensor, weight: Tensor,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return _empty_gradients(added, dropout_p)


@gelu.register_fake
def _(x: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(x)


@gelu_backward.register_fake
def _(gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return _empty_gelu_gradients(x)
