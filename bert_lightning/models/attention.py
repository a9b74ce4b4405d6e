"""Attention over packed sequences: the tokens of many sequences stand one after another, and none sees another one.

All functions take `qkv`, the query, key and value of the fused projection, (tokens, 3, heads, head_dim), and
`cu_seqlens`, the offset of every sequence and the end of the last, (sequences + 1,). They return the context,
(tokens, heads, head_dim).
"""

from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.models.dropout import dropout_mask, rounded
from bert_lightning.models.windows import EVERYTHING, Window, visible
from data_pipeline.internals import check_internal

check_internal(torch, "_softmax_backward_data", "torch 2.11 and 2.13")
check_internal(torch.ops.aten, "_flash_attention_forward", "torch 2.11 and 2.13")

PackedAttention = Callable[..., Tensor]
"""(qkv, cu_seqlens, max_seqlen, dropout_p) -> context, (tokens, heads, head_dim).

A model in which tokens do not see all of their sequence gives a `window` besides.
"""
FLASH_MULTIPLE, FLASH_MOST = 8, 256
"""Head dimensions that flash attention takes: multiples of the first up to the second."""
GROUP_WEIGHTS = 1 << 19
"""Most attention weights of sequences that attend at once."""
FUSED_HEAD_DIMS = (16, 32, 64)
"""Head dimensions of `fused_attention`."""


def looped_attention(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, window: Window = EVERYTHING
) -> Tensor:
    """Attend with plain matrix products, to sequences of equal length at once: every device and precision.

    Reading the offsets waits for the device, so GPUs take another function. On CPUs these products take a third of the
    time of scaled_dot_product_attention, whose backward pass is slow there, and which has no kernel with dropout.
    """
    return _attend_each(qkv, cu_seqlens, max_seqlen, dropout_p, *window)[0]


@torch.library.custom_op("bert_lightning::attend_each", mutates_args=())
def _attend_each(
    qkv: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_p: float, before: int = -1, after: int = -1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the context, and for the backward pass the attention weights and the mask of dropout.

    It is one operation for the compiler, which cannot follow a loop over lengths. Weights and mask are flat:
    the weights of one group, (sequences * heads, length, length), stand behind those of the group before. Sequences of
    3 and 2 tokens and 4 heads take entries 0 to 35 and 36 to 51. The compiler must know the sizes before it knows the
    lengths, so there is room for tokens * heads * max_seqlen entries; memory behind the last one is never touched.
    """
    context = qkv.new_empty(qkv.shape[0], *qkv.shape[2:])  # (tokens, heads, head_dim)
    flat_weights, flat_mask = _flat_squares(qkv, max_seqlen, dropout_p)
    for group in _groups(cu_seqlens, qkv.shape[2]):
        query, key, value = group.gather(qkv)  # each (sequences * heads, length, head_dim)
        weights = group.squares(flat_weights)  # (sequences * heads, length, length)
        torch.baddbmm(query.new_empty(()), query, key.mT, beta=0, alpha=query.shape[-1] ** -0.5, out=weights)
        if (before, after) != EVERYTHING:
            weights.masked_fill_(~visible(group.length, (before, after), qkv.device), -torch.inf)
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
    for group in _groups(cu_seqlens, qkv.shape[2]):
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
    """Return memory for the weights of all sequences, (tokens * heads * max_seqlen,), and for the mask of dropout."""
    size = qkv.shape[0] * qkv.shape[2] * max_seqlen
    return qkv.new_empty(size), qkv.new_empty(size if dropout_p else 0)


class _Group(NamedTuple):
    """Sequences of one length that attend at once.

    Attributes:
        tokens: The positions of their tokens in the batch, (sequences * length,); a slice if they follow each other.
        length: Tokens of each sequence.
        num_heads: Attention heads.
        entries: The place of their attention weights in the flat memory.
    """

    tokens: slice | Tensor
    length: int
    num_heads: int
    entries: slice

    def gather(self, packed: Tensor) -> Tensor:
        """Return the rows of the group: (tokens, k, heads, head_dim) -> (k, sequences * heads, length, head_dim)."""
        rows = packed[self.tokens] if isinstance(self.tokens, slice) else packed.index_select(0, self.tokens)
        return rows.unflatten(0, (-1, self.length)).permute(2, 0, 3, 1, 4).flatten(1, 2)

    def scatter(self, rows: Tensor, packed: Tensor) -> None:
        """Write rows, (k, sequences * heads, length, head_dim), where `gather` reads them in `packed`."""
        tokens = rows.unflatten(1, (-1, self.num_heads)).permute(1, 3, 0, 2, 4).flatten(0, 1)
        if isinstance(self.tokens, slice):
            packed[self.tokens] = tokens
        else:
            packed.index_copy_(0, self.tokens, tokens)

    def squares(self, flat: Tensor) -> Tensor:
        """Return a view of the group's part of flat memory, (sequences * heads, length, length)."""
        return flat[self.entries].view(-1, self.length, self.length)


def _groups(cu_seqlens: Tensor, num_heads: int) -> list[_Group]:
    """Return the sequences that are not empty, by length, in groups whose weights stay in the cache of a core.

    Offsets 0, 3, 3, 5 with 4 heads give tokens 0:3 with entries 0:36, and tokens 3:5 with entries 36:52.
    """
    begins: dict[int, list[int]] = {}
    for begin, end in pairwise(cu_seqlens.tolist()):
        if end > begin:
            begins.setdefault(end - begin, []).append(begin)
    groups: list[_Group] = []
    first = 0
    for length, all_begins in begins.items():
        size = num_heads * length**2
        most = max(1, GROUP_WEIGHTS // size)
        for start in range(0, len(all_begins), most):
            chosen = all_begins[start : start + most]
            end = first + len(chosen) * size
            groups.append(_Group(_positions(chosen, length), length, num_heads, slice(first, end)))
            first = end
    return groups


def _positions(begins: list[int], length: int) -> slice | Tensor:
    """Return the positions of all tokens of sequences of one length that begin at `begins`."""
    if begins[-1] - begins[0] == (len(begins) - 1) * length:
        return slice(begins[0], begins[-1] + length)
    return (torch.tensor(begins)[:, None] + torch.arange(length)).flatten()


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


def choose_attention(
    device_type: str,
    dropout_p: float,
    is_half_precision: bool,
    head_dim: int = FLASH_MULTIPLE,
    has_windows: bool = False,
) -> PackedAttention:
    """Return the fastest attention that a device has; docs/benchmarks/README.md has the measurements.

    Args:
        device_type: "cuda" or "cpu".
        dropout_p: Attention dropout of the model; the documented one-kernel attention has none.
        is_half_precision: Whether queries arrive as bfloat16 or float16, as they do under autocast.
        head_dim: hidden_size / num_attention_heads.
        has_windows: Whether a `window` will be given, which the fused kernels do not take.

    Raises:
        ValueError: if the flash kernels, which half precision on a GPU needs, do not take the head dimension.
    """
    if device_type != "cuda":
        return looped_attention
    if not is_half_precision:
        return padded_attention
    if head_dim % FLASH_MULTIPLE or head_dim > FLASH_MOST:
        raise ValueError(
            f"model.hidden_size / model.num_attention_heads = {head_dim}, but the attention kernels of GPUs take "
            f"multiples of {FLASH_MULTIPLE} up to {FLASH_MOST}; change one of them, or take trainer.precision=32-true"
        )
    if head_dim in FUSED_HEAD_DIMS and not has_windows and find_spec("triton") is not None:
        from bert_lightning.models.fused_attention import fused_attention

        return fused_attention
    return flash_attention if dropout_p else varlen_attention
