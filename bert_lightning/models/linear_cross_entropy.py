"""Cross-entropy of scores over a large vocabulary, without holding the scores of all rows at once.

The gradients are made beside the loss, chunk by chunk, so no score is kept for the backward pass or computed twice.
A CPU takes this way for all rows too: each pass over the scores of a large vocabulary is a pass through its memory.
torch 2.13 has such a function too; it does not say which scores were highest, and the compiler stops at it.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from data_pipeline.records import NO_LABEL

CACHE_SCORES = 1 << 21
"""Scores that a CPU works on at a time, few enough to stay in its cache."""


def chunked_cross_entropy(
    features: Tensor, table: Tensor, bias: Tensor, labels: Tensor, chunk_rows: int | None
) -> tuple[Tensor, Tensor]:
    """Return what `cross_entropy(linear(features, table, bias), labels)` sums to, and how many scores are right.

    Args:
        features: (rows, hidden), in the precision to compute in.
        table: (vocabulary, hidden).
        bias: (vocabulary,).
        labels: (rows,), `NO_LABEL` for filler.
        chunk_rows: Rows whose scores are held at a time; None holds all, in the precision to compute in.

    Returns:
        The sum in fp32, and the number of rows whose highest score is that of the label.
    """
    found = _chunks(features, table, bias, labels, chunk_rows, torch.is_grad_enabled())
    return cast(tuple[Tensor, Tensor], found[:2])


@torch.library.custom_op("bert_lightning::chunked_cross_entropy", mutates_args=())
def _chunks(
    features: Tensor, table: Tensor, bias: Tensor, labels: Tensor, chunk_rows: int | None, has_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return loss, right answers, and the gradients of features, table and bias where they are asked for.

    A row with scores s and shares p = softmax(s) costs max(s) - log(max(p)) - s[label], and the gradient of s is p,
    less one at the label.
    """
    weight, offset = table.to(features.dtype), bias.to(features.dtype)
    loss, right = features.new_zeros((), dtype=torch.float32), labels.new_zeros(())
    of_features, of_table, of_bias = _gradients(features, table, bias, chunk_rows, has_gradient)
    on_cpu = features.device.type == "cpu"
    for chunk in _slices(slice(0, len(features)), chunk_rows):
        of_scores = features.new_empty(chunk.stop - chunk.start if has_gradient else 0, len(table))
        for rows in _slices(chunk, max(CACHE_SCORES // len(table), 1) if on_cpu else None):
            scores = torch.addmm(offset, features[rows], weight.mT)  # (rows, vocabulary)
            label = labels[rows].unsqueeze(1)
            asked, picked = label != NO_LABEL, label.clamp(min=0)
            highest, guess = scores.max(-1, keepdim=True)
            right += (guess == label).sum()
            shares = torch.softmax(scores, -1, dtype=torch.float32)
            loss += ((highest.float() - shares.gather(1, guess).log() - scores.gather(1, picked)) * asked).sum()
            if has_gradient:
                shares.scatter_add_(1, picked, shares.new_full((), -1).expand_as(picked)).mul_(asked)
                of_scores[rows.start - chunk.start : rows.stop - chunk.start] = shares
                of_bias += shares.sum(0)
        if has_gradient:
            of_features[chunk] = of_scores @ weight
            if chunk_rows is None:
                torch.mm(of_scores.mT, features, out=of_table)
            else:
                of_table += of_scores.mT @ features[chunk]
    return loss, right, of_features, of_table, of_bias


def _slices(rows: slice, size: int | None) -> Iterator[slice]:
    """Cut rows into slices of at most `size` rows; None gives them whole."""
    for first in range(rows.start, rows.stop, size or max(rows.stop - rows.start, 1)):
        yield slice(first, min(first + size, rows.stop) if size else rows.stop)


def _gradients(
    features: Tensor, table: Tensor, bias: Tensor, chunk_rows: int | None, has_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return room for the gradients, in fp32 if they are sums over chunks or blocks."""
    if not has_gradient:
        return features.new_empty(0), table.new_empty(0), bias.new_empty(0)
    of_bias = torch.zeros_like(bias, dtype=torch.float32)
    if chunk_rows is None:
        return torch.empty_like(features), torch.empty_like(table, dtype=features.dtype), of_bias
    return torch.empty_like(features), torch.zeros_like(table, dtype=torch.float32), of_bias


@_chunks.register_fake
def _(
    features: Tensor, table: Tensor, bias: Tensor, labels: Tensor, chunk_rows: int | None, has_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    loss, right = features.new_empty((), dtype=torch.float32), labels.new_empty(())
    return loss, right, *_gradients(features, table, bias, chunk_rows, has_gradient)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.dtypes = [one.dtype for one in inputs[:3]]
    ctx.save_for_backward(*output[2:])


def _backward(ctx: Any, above: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
    scaled = (torch.empty_like(one, dtype=dtype) for one, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))
    return *(room.copy_(one).mul_(above) for room, one in zip(scaled, ctx.saved_tensors, strict=True)), None, None, None


_chunks.register_autograd(_backward, setup_context=_keep)
