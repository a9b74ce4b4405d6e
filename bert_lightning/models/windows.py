"""How far a token sees within its sequence."""

import torch
from torch import Tensor

Window = tuple[int, int]
"""Tokens that a token sees before and after itself, -1 for all, as torch's kernels take it: (-1, 0) is causal."""
EVERYTHING: Window = (-1, -1)


def visible(length: int, window: Window, device: torch.device) -> Tensor:
    """Return which keys each query of a sequence sees, (length, length).

    >>> visible(3, (-1, 0), torch.device("cpu")).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    before, after = (length if side < 0 else side for side in window)
    position = torch.arange(length, device=device)
    distance = position - position[:, None]  # (queries, keys)
    return (distance >= -before) & (distance <= after)
