"""The words of 32 bits from which kernels decide over dropout."""

import torch
from torch import Tensor

INT32 = 1 << 31


def random_words(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Draw words on the device of `like`, from torch's generator; a compiled graph draws them beside its other work."""
    return torch.randint(-INT32, INT32, shape, dtype=torch.int32, device=like.device)
