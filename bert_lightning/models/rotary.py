"""Rotary positions (Su et al., 2021): queries and keys are turned by angles that grow with the position.

The product of a query and a key then depends on the distance between the two and not on where they stand.
"""

import torch
from torch import Tensor


def rotate(qkv: Tensor, position_ids: Tensor, theta: float) -> Tensor:
    """Return `qkv` with queries and keys turned, in fp32 before it is rounded; values stay.

    Dimension d of a head and dimension d + head_dim / 2 are turned together, by position * theta^(-2 d / head_dim).

    Args:
        qkv: Query, key and value, (tokens, 3, heads, head_dim).
        position_ids: Position of every token in its sequence, (tokens,).
        theta: Base of the frequencies.
    """
    half = qkv.shape[-1] // 2
    frequencies = theta ** -(torch.arange(half, device=qkv.device) / half)
    angles = position_ids[:, None, None, None] * frequencies  # (tokens, 1, 1, head_dim / 2)
    sin, cos = angles.sin(), angles.cos()
    first, second = qkv[:, :2].float().chunk(2, -1)  # each (tokens, 2, heads, head_dim / 2)
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
    return torch.cat([turned.to(qkv.dtype), qkv[:, 2:]], 1)
