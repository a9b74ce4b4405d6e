"""A start at which attention heads look at neighboring tokens, in weights that an ordinary BERT has.

Position t gets sin(wt) and cos(wt) for F frequencies w, in C copies. Their amplitude, sqrt(2) initializer_range, gives
them the variance of BERT's own draws. Token, position and segment have then equal shares of the sum that LayerNorm
normalizes, so each copy arrives with the amplitude sqrt(2/3), whatever initializer_range is. A query adds up half of
the copies and turns them by the angle w * offset; a key adds up the other half. Both are multiplied by a gain g:

    query(t) . key(s) / sqrt(head_dim) = g^2 (C/2)^2 (2/3) / sqrt(head_dim) * sum over w of cos(w (t + offset - s))

plus products with token and segment embeddings, which have no preferred sign. The sum is largest, F, at s = t + offset.
The gain makes this peak `PEAK_SCORE` for every size. Query and key read different copies because a token's embedding
would otherwise match itself: the head would look at its own token first. Mimetic initialization (Trockman & Kolter,
2023) is the nearest relative; it brings the products of query and key near the identity.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FASTEST, SPAN = 1.5, 50
"""The largest frequency, in radians per token, and how many times smaller the smallest is, about."""
PEAK_SCORE = 2.16
"""The attention score at the offset, before the softmax: it makes the weight there several times the mean weight."""
LEAST_FREQUENCIES = 4
"""With fewer frequencies, distant tokens look like the neighbor."""


def num_frequencies(hidden_size: int, num_heads: int) -> int:
    """Return how many frequencies a head reads: each takes two of its dimensions, and four columns of half the width.

    >>> num_frequencies(768, 12), num_frequencies(128, 2), num_frequencies(128, 8)
    (32, 16, 8)
    """
    return min(hidden_size // num_heads // 2, hidden_size // 8)


def offset_of(head: int) -> int:
    """Return where a head looks, in tokens.

    >>> [offset_of(head) for head in range(5)]
    [-1, 1, -2, 2, -3]
    """
    return (head // 2 + 1) * (1 if head % 2 else -1)


def num_neighbor_heads(layer: int, num_heads: int) -> int:
    """Return how many heads of a layer, from the first on, look at neighbors: all of layer 0, half of the others."""
    return num_heads // 2 if layer else num_heads


@torch.no_grad()
def look_at_neighbors(positions: Tensor, projections: Sequence[Tensor], num_heads: int, initializer_range: float) -> None:
    """Overwrite position embeddings, and query and key weights of heads, in place. No random number is drawn.

    Args:
        positions: Table of position embeddings, (positions, hidden); up to half of its columns are overwritten.
        projections: Weight of the fused projection of every layer, (3 * hidden, hidden).
        num_heads: Heads of a layer.
        initializer_range: Standard deviation of the embeddings.
    """
    hidden_size, device = positions.shape[1], positions.device
    head_dim, count = hidden_size // num_heads, num_frequencies(hidden_size, num_heads)
    copies = hidden_size // (8 * count)  # that a query reads; a key reads as many
    read = 2 * count * copies  # columns that a query reads
    frequencies = FASTEST * SPAN ** -(torch.arange(count, device=device) / count)
    angles = torch.arange(len(positions), device=device)[:, None] * frequencies  # (positions, frequencies)
    waves = torch.cat([angles.sin(), angles.cos()], 1)  # (positions, 2 * frequencies)
    positions[:, : 2 * read] = math.sqrt(2) * initializer_range * waves.repeat(1, 2 * copies)

    gain = math.sqrt(PEAK_SCORE * math.sqrt(head_dim) * 1.5 / count) / copies
    for layer, projection in enumerate(projections):
        query, key, _ = projection.unflatten(0, (3, num_heads, head_dim))  # each (heads, head_dim, hidden)
        for head in range(num_neighbor_heads(layer, num_heads)):
            query[head, : 2 * count] = key[head, : 2 * count] = 0
            query[head, : 2 * count, :read] = gain * _rotation(offset_of(head) * frequencies).repeat(1, copies)
            key[head, : 2 * count, read : 2 * read] = gain * _rotation(0 * frequencies).repeat(1, copies)


def _rotation(angles: Tensor) -> Tensor:
    """Return the matrix that takes sin(wt) and cos(wt) to sin(wt + angle) and cos(wt + angle), for every angle."""
    cos, sin = angles.cos().diag(), angles.sin().diag()
    return torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)])
