"""Dropout alone, and together with the residual connection that follows it.

On a GPU this is torch's. On CPUs torch draws one random number after another, which makes dropout of 0.1 cost a tenth
of a BERT step; here one draw of 64 bits decides over four elements. Their probability is a multiple of 1/65536, and
what is kept is divided by exactly that probability, so the mean stays.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 1 << 16
INT32 = 1 << 31


def random_words(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Draw words of 32 bits from torch's generator, from which kernels on the device of `like` decide over dropout.

    A compiled graph draws them beside its other work.
    """
    return torch.randint(-INT32, INT32, shape, dtype=torch.int32, device=like.device)


def rounded(p: float) -> float:
    """Return the probability of being dropped: `p`, rounded to 1/65536.

    >>> rounded(0.5), round(rounded(0.1), 6)
    (0.5, 0.100006)
    """
    return round(p * LEVELS) / LEVELS


def dropout_mask(like: Tensor, p: float, out: Tensor | None = None) -> Tensor:
    """Return 0 where an element is dropped and 1 where it is kept, in the shape and dtype of `like`."""
    cutoff = round(p * LEVELS) - LEVELS // 2
    return torch.ge(_random_int16(like), cutoff, out=torch.empty_like(like) if out is None else out)


def _random_int16(like: Tensor) -> Tensor:
    """Return uniform numbers of 16 bits from torch's generator, in the shape of `like`."""
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device).random_(-(1 << 63), None)
    return words.view(torch.int16)[: like.numel()].view(like.shape)


@torch.library.custom_op("bert_lightning::dropout_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _mask(like: Tensor, p: float) -> Tensor:
    """`dropout_mask` as one operation for the compiler, which may not draw in its own way or draw again."""
    return dropout_mask(like, p)


@_mask.register_fake
def _(like: Tensor, p: float) -> Tensor:
    return torch.empty_like(like)


class Dropout(nn.Module):
    """Set elements to zero with probability `p` while training, and scale the others up.

    Args:
        p: From 0 to below 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return dropout of `x`, added to `residual` if one is given."""
        if not self.training or not self.p:
            return x if residual is None else residual + x
        if x.device.type != "cpu":
            dropped = F.dropout(x, self.p)
            return dropped if residual is None else residual + dropped
        mask, scale = _mask(x.detach(), self.p), 1 / (1 - rounded(self.p))
        return (x * mask).mul(scale) if residual is None else torch.addcmul(residual, x, mask, value=scale)
