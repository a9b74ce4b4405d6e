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
LEAST_HIDDEN_SIZE, LEAST_HEAD_DIM = 64, 8
"""In smaller models there are too few frequencies and copies: the products with tokens drown the peaks."""


def check_sizes(hidden_size: int, num_heads: int) -> None:
    """Raise a ValueError that names the settings if a model is too small for heads that look at neighbors."""
    if hidden_size < LEAST_HIDDEN_SIZE or hidden_size // num_heads < LEAST_HEAD_DIM:
        raise ValueError(
            f"model.initialization=neighbors needs model.hidden_size of at least {LEAST_HIDDEN_SIZE} and at least "
            f"{LEAST_HEAD_DIM} dimensions a head; got {hidden_size} and {hidden_size // num_heads}"
        )


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


def check_reach(num_heads: int, sides: Sequence[int]) -> None:
    """Raise a ValueError if heads look farther than their layer sees.

    Args:
        num_heads: Heads of a layer.
        sides: How many tokens before itself a token of each layer sees, -1 for all.
    """
    for layer, side in enumerate(sides):
        farthest = max((abs(offset_of(head)) for head in range(num_neighbor_heads(layer, num_heads))), default=0)
        if 0 <= side < farthest:
            raise ValueError(
                f"model.initialization=neighbors lets heads look {farthest} tokens away, but model.local_attention "
                f"shows {side} of them on either side; take at least {2 * farthest}, or null"
            )


@torch.no_grad()
def look_at_neighbors(
    positions: Tensor, projections: Sequence[Tensor], num_heads: int, initializer_range: float, num_tables: int = 3
) -> None:
    """Overwrite position embeddings, and query and key weights of heads, in place; no random number is drawn.

    Args:
        positions: Table of position embeddings, (positions, hidden). Half of its columns are overwritten.
        projections: Weight of the fused projection of every layer, (3 * hidden, hidden). Heads with more dimensions
            than waves keep the rows that are left over.
        num_heads: Heads of a layer.
        initializer_range: Standard deviation of BERT's draws.
        num_tables: Tables whose rows are added up in the embeddings: 2 if there are no segments.
    """
    hidden_size = positions.shape[1]
    head_dim, count = hidden_size // num_heads, num_frequencies(hidden_size, num_heads)
    frequencies = FASTEST * SPAN ** -(torch.arange(count) / count)
    rows, copies = 2 * count, hidden_size // (8 * count)  # copies that a query adds up, and a key as many
    angles = torch.arange(len(positions))[:, None] * frequencies  # (positions, frequencies)
    waves = torch.cat([angles.sin(), angles.cos()], 1).repeat(1, 2 * copies)  # (positions, 2 * copies * rows)
    positions[:, : waves.shape[1]] = math.sqrt(2) * initializer_range * waves

    gain = math.sqrt(PEAK_SCORE * math.sqrt(head_dim) * num_tables / 2 / count) / copies
    for layer, projection in enumerate(projections):
        query, key, _ = projection.unflatten(0, (3, num_heads, head_dim))  # each (heads, head_dim, hidden)
        for head in range(num_neighbor_heads(layer, num_heads)):
            query[head, :rows] = key[head, :rows] = 0
            turned, straight = _rotation(offset_of(head) * frequencies), _rotation(0 * frequencies)  # (rows, rows)
            query[head, :rows, : copies * rows] = gain * turned.repeat(1, copies)
            key[head, :rows, copies * rows : 2 * copies * rows] = gain * straight.repeat(1, copies)


def _rotation(angles: Tensor) -> Tensor:
    """Return the matrix that takes sin(wt) and cos(wt) to sin(wt + angle) and cos(wt + angle), for every angle."""
    sin, cos = angles.sin().diag(), angles.cos().diag()
    return torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)])
