"""Cross-entropy of scores over a large vocabulary, without holding the scores of all rows at once.

The gradients are made beside the loss, chunk by chunk, so no score is kept for the backward pass or computed twice.
torch 2.13 has such a function too; it does not say which scores were highest, and the compiler stops at it.
"""

from typing import Any, cast

import torch
from torch import Tensor

from data_pipeline.records import NO_LABEL


def chunked_cross_entropy(
    features: Tensor, table: Tensor, bias: Tensor, labels: Tensor, chunk_rows: int
) -> tuple[Tensor, Tensor]:
    """Return what `cross_entropy(linear(features, table, bias), labels)` sums to, and how many scores are right.

    Args:
        features: (rows, hidden), in the precision to compute in.
        table: (vocabulary, hidden).
        bias: (vocabulary,).
        labels: (rows,), `NO_LABEL` for filler.
        chunk_rows: Rows of scores to hold at a time.

    Returns:
        The sum in fp32, and the number of rows whose highest score is that of the label.
    """
    found = _chunks(features, table, bias, labels, chunk_rows, torch.is_grad_enabled())
    return cast(tuple[Tensor, Tensor], found[:2])


@torch.library.custom_op("bert_lightning::chunked_cross_entropy", mutates_args=())
def _chunks(
    features: Tensor, table: Tensor, bias: Tensor, labels: Tensor, chunk_rows: int, has_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return loss, right answers, and the gradients of features, table and bias where they are asked for."""
    weight, offset = table.to(features.dtype), bias.to(features.dtype)
    loss, right = features.new_zeros((), dtype=torch.float32), labels.new_zeros(())
    gradients = _gradients(features, table, bias, has_gradient)
    of_features, of_table, of_bias = gradients
    for first in range(0, len(features), chunk_rows):
        rows = slice(first, first + chunk_rows)
        scores = torch.addmm(offset, features[rows], weight.mT)  # (chunk_rows, vocabulary)
        asked = (labels[rows] != NO_LABEL).unsqueeze(1)
        picked = labels[rows].clamp(min=0).unsqueeze(1)
        right += (scores.argmax(-1) == labels[rows]).sum()
        shares = torch.log_softmax(scores, -1, dtype=torch.float32)
        loss -= (shares.gather(1, picked) * asked).sum()
        if has_gradient:
            shares.exp_().scatter_add_(1, picked, shares.new_full((), -1).expand_as(picked)).mul_(asked)
            of_scores = shares.to(features.dtype)
            of_features[rows] = of_scores @ weight
            of_table += of_scores.mT @ features[rows]
            of_bias += shares.sum(0)
    return loss, right, of_features, of_table.to(table.dtype), of_bias.to(bias.dtype)


def _gradients(features: Tensor, table: Tensor, bias: Tensor, has_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return room for the gradients; those of the weights in fp32, for they are sums over the chunks."""
    if not has_gradient:
        return features.new_empty(0), table.new_empty(0), bias.new_empty(0)
    of_table, of_bias = (torch.zeros_like(one, dtype=torch.float32) for one in (table, bias))
    return torch.empty_like(features), of_table, of_bias


@_chunks.register_fake
def _(
    features: Tensor, table: Tensor, bias: Tensor, labels: Tensor, chunk_rows: int, has_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    loss, right = features.new_empty((), dtype=torch.float32), labels.new_empty(())
    if not has_gradient:
        return loss, right, features.new_empty(0), table.new_empty(0), bias.new_empty(0)
    return loss, right, torch.empty_like(features), torch.empty_like(table), torch.empty_like(bias)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[2:])


def _backward(ctx: Any, above: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
    return *(gradient * above.to(gradient.dtype) for gradient in ctx.saved_tensors), None, None, None


_chunks.register_autograd(_backward, setup_context=_keep)
