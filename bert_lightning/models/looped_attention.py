"""Attention over packed sequences with plain matrix products, in any precision, for CPUs.

Sequences of about equal length attend at once. An operation on a few short sequences costs far more time than its
arithmetic, so shorter sequences are padded to the length of a longer one if that costs less than one group more.
"""

from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bert_lightning.models.dropout import dropout_mask, rounded
from bert_lightning.models.windows import EVERYTHING, Window, visible
from data_pipeline.untrusted.internals import check_internal

check_internal(torch, "_softmax_backward_data", "torch 2.11 and 2.13")

GROUP_WEIGHTS = 1 << 19
"""Most attention weights of sequences that attend at once."""
PADDING_WEIGHTS = 1 << 14
"""Most attention weights of padding in a group: their time is that of the operations of one more group."""


def looped_attention(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, window: Window = EVERYTHING
) -> Tensor:
    """Return the context of packed sequences; arguments and result are those of `PackedAttention`.

    Reading the offsets waits for the device, so GPUs train with another function. On CPUs these products take a third
    of the time of scaled_dot_product_attention, whose backward pass is slow there and has no kernel with dropout.
    """
    return _attend_each(qkv, cu_seqlens, max_seqlen, dropout_p, *window)[0]


@torch.library.custom_op("bert_lightning::attend_each", mutates_args=())
def _attend_each(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, before: int = -1, after: int = -1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the context, and for the backward pass the attention weights and the mask of dropout.

    It is one operation for the compiler, which cannot follow a loop over lengths. Weights and mask are flat: the
    weights of one group, (sequences * heads, length, length), stand behind those of the group before. The compiler must
    know the sizes before it knows the lengths, so there is room for all sequences at `max_seqlen` and as much padding;
    memory behind the last entry is never touched.
    """
    context = qkv.new_empty(qkv.shape[0], *qkv.shape[2:])  # (tokens, heads, head_dim)
    flat_weights, flat_mask = _flat_squares(qkv, max_seqlen, dropout_p)
    for group in _groups(tuple(cu_seqlens.tolist()), qkv.shape[2], qkv.device):
        query, key, value = group.gather(qkv)  # each (sequences * heads, length, head_dim)
        weights = group.squares(flat_weights)  # (sequences * heads, length, length)
        torch.baddbmm(query.new_empty(()), query, key.mT, beta=0, alpha=query.shape[-1] ** -0.5, out=weights)
        group.hide(weights, (before, after))
        torch.softmax(weights, -1, out=weights)
        if dropout_p:
            weights = weights * dropout_mask(weights, dropout_p, out=group.squares(flat_mask))
        group.scatter(torch.bmm(weights, value)[None], context[:, None])
    return context.mul_(1 / (1 - rounded(dropout_p))) if dropout_p else context, flat_weights, flat_mask


@torch.library.custom_op("bert_lightning::attend_each_backward", mutates_args=())
def _attend_each_backward(
    gradient: Tensor, qkv: Tensor, cu_seqlens: Tensor, flat_weights: Tensor, flat_mask: Tensor, dropout_p: float
) -> Tensor:
    """Return the gradient of `qkv` from the gradient of the context.

    With scores S = Q K^T / sqrt(head_dim), weights W = softmax(S), mask M of dropout and context C = (W * M) V:
    dV = (W * M)^T dC, dW = (dC V^T) * M, dS = W * (dW - rowsum(dW * W)), dQ = dS K / sqrt(head_dim) and
    dK = dS^T Q / sqrt(head_dim).
    `_softmax_backward_data` is an operation of torch without a public name.
    """
    result = torch.empty_like(qkv)
    scale = qkv.shape[-1] ** -0.5
    for group in _groups(tuple(cu_seqlens.tolist()), qkv.shape[2], qkv.device):
        query, key, value = group.gather(qkv)  # each (sequences * heads, length, head_dim)
        d_qkv = query.new_empty(3, *query.shape)
        (d_context,) = group.gather(gradient[:, None])  # (sequences * heads, length, head_dim)
        d_context = d_context * (1 / (1 - rounded(dropout_p)))
        weights = group.squares(flat_weights)  # (sequences * heads, length, length)
        mask = group.squares(flat_mask) if dropout_p else None
        torch.bmm((weights if mask is None else weights * mask).mT, d_context, out=d_qkv[2])
        d_weights = torch.bmm(d_context, value.mT)  # (sequences * heads, length, length)
        if mask is not None:
            d_weights.mul_(mask)
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        torch.baddbmm(query.new_empty(()), d_scores, key, beta=0, alpha=scale, out=d_qkv[0])
        torch.baddbmm(query.new_empty(()), d_scores.mT, query, beta=0, alpha=scale, out=d_qkv[1])
        group.scatter(d_qkv, result)
    return result


def _flat_squares(qkv: Tensor, max_seqlen: int, dropout_p: float) -> tuple[Tensor, Tensor]:
    """Return memory for the weights of all groups, (2 * tokens * heads * max_seqlen,), and for the mask of dropout."""
    size = 2 * qkv.shape[0] * qkv.shape[2] * max_seqlen
    return qkv.new_empty(size), qkv.new_empty(size if dropout_p else 0)


class _Group(NamedTuple):
    """Sequences that attend at once, padded with zeros to the longest of them.

    Attributes:
        tokens: The positions of their tokens in the batch; a slice if they follow each other.
        is_real: Which places hold a token, (sequences, length), if there is padding.
        length: Tokens of the longest.
        num_heads: Attention heads.
        entries: The place of their attention weights in the flat memory.
        slots: The places of the tokens among the sequences * length places.
    """

    tokens: slice | Tensor
    is_real: Tensor | None
    length: int
    num_heads: int
    entries: slice
    slots: Tensor

    def gather(self, packed: Tensor) -> Tensor:
        """Return the rows of the group: (tokens, k, heads, head_dim) -> (k, sequences * heads, length, head_dim)."""
        rows = packed[self.tokens] if isinstance(self.tokens, slice) else packed.index_select(0, self.tokens)
        if self.is_real is not None:
            padded = rows.new_zeros(self.is_real.numel(), *rows.shape[1:])
            rows = padded.index_copy_(0, self.slots, rows)
        return rows.unflatten(0, (-1, self.length)).permute(2, 0, 3, 1, 4).flatten(1, 2)

    def scatter(self, rows: Tensor, packed: Tensor) -> None:
        """Write rows, (k, sequences * heads, length, head_dim), where `gather` reads them in `packed`."""
        tokens = rows.unflatten(1, (-1, self.num_heads)).permute(1, 3, 0, 2, 4).flatten(0, 1)
        if self.is_real is not None:
            tokens = tokens.index_select(0, self.slots)
        if isinstance(self.tokens, slice):
            packed[self.tokens] = tokens
        else:
            packed.index_copy_(0, self.tokens, tokens)

    def squares(self, flat: Tensor) -> Tensor:
        """Return a view of the group's part of flat memory, (sequences * heads, length, length)."""
        return flat[self.entries].view(-1, self.length, self.length)

    def hide(self, scores: Tensor, window: Window) -> None:
        """Set the scores of keys that are padding or out of the window to minus infinity, in place.

        Rows of padding may be out of the window of all tokens. They see themselves, so that nothing becomes NaN.
        """
        by_sequence = scores.view(-1, self.num_heads, self.length, self.length)
        if window != EVERYTHING:
            by_sequence.masked_fill_(~visible(self.length, window, scores.device), -torch.inf)
        if self.is_real is not None:
            by_sequence.masked_fill_(~self.is_real[:, None, None], -torch.inf)
            if window != EVERYTHING:
                by_sequence.diagonal(dim1=-2, dim2=-1).masked_fill_(~self.is_real[:, None], 0.0)


@lru_cache(maxsize=4)
def _groups(offsets: tuple[int, ...], num_heads: int, device: torch.device) -> list[_Group]:
    """Return the sequences that are not empty, the longest first, in groups whose weights stay in the cache of a core.

    All layers and both passes ask for the same offsets. Offsets 0, 3, 3, 5 with 4 heads give one group of length 3
    with entries 0:72.
    """
    spans = [(begin, end) for begin, end in pairwise(offsets) if end > begin]
    spans.sort(key=lambda span: span[0] - span[1])
    groups: list[_Group] = []
    first = 0
    while spans:
        length, count = spans[0][1] - spans[0][0], _fitting(spans, num_heads)
        entries = slice(first, first := first + count * num_heads * length**2)
        lengths = torch.tensor([end - begin for begin, end in spans[:count]])
        is_real = torch.arange(length) < lengths[:, None]  # (sequences, length)
        slots = is_real.flatten().nonzero().flatten()  # (tokens,)
        padded = is_real.to(device) if len(slots) < count * length else None
        tokens = _positions(spans[:count], device)
        groups.append(_Group(tokens, padded, length, num_heads, entries, slots.to(device)))
        spans = spans[count:]
    return groups


def _fitting(spans: list[tuple[int, int]], num_heads: int) -> int:
    """Return how many of the sequences, the longest first, form the next group: at most half of it is padding."""
    length = spans[0][1] - spans[0][0]
    most = max(1, GROUP_WEIGHTS // (num_heads * length**2))
    padding, tokens = 0, 0
    for count, (begin, end) in enumerate(spans[:most]):
        tokens += end - begin
        padding += num_heads * (length**2 - (end - begin) ** 2)
        if padding > PADDING_WEIGHTS or (count + 1) * length > 2 * tokens:
            return count
    return min(most, len(spans))


def _positions(spans: list[tuple[int, int]], device: torch.device) -> slice | Tensor:
    """Return the positions of all tokens of some sequences."""
    if all(end == begin for (_, end), (begin, _) in pairwise(spans)):
        return slice(spans[0][0], spans[-1][1])
    return torch.cat([torch.arange(begin, end) for begin, end in spans]).to(device)


@_attend_each.register_fake
def _(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, before: int = -1, after: int = -1
) -> tuple[Tensor, Tensor, Tensor]:
    return qkv.new_empty(qkv.shape[0], *qkv.shape[2:]), *_flat_squares(qkv, max_seqlen, dropout_p)


@_attend_each_backward.register_fake
def _(
    gradient: Tensor, qkv: Tensor, cu_seqlens: Tensor, flat_weights: Tensor, flat_mask: Tensor, dropout_p: float
) -> Tensor:
    return torch.empty_like(qkv)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    qkv, cu_seqlens, _, ctx.dropout_p, *_window = inputs
    _, weights, mask = output
    ctx.mark_non_differentiable(weights, mask)
    ctx.save_for_backward(qkv, cu_seqlens, weights, mask)


def _backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradient of `qkv`; keys out of the window have weights of zero, so they get none."""
    qkv, cu_seqlens, weights, mask = ctx.saved_tensors
    of_qkv = _attend_each_backward(gradient, qkv, cu_seqlens, weights, mask, ctx.dropout_p)
    return of_qkv, None, None, None, None, None


_attend_each.register_autograd(_backward, setup_context=_keep)
