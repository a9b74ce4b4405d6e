"""How Triton kernels become operations of torch: the compiler starts them by itself, without Python's dispatch.

Triton's interpreter, with which tests run kernels on a CPU, makes no kernels that the compiler could start. There they
are opaque operations.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
INT32 = 1 << 31


def operation(name: str) -> Callable[..., Any]:
    """Return a decorator that registers a function that starts kernels as an operation."""
    register = torch.library.custom_op if IS_INTERPRETED else torch.library.triton_op
    return register(f"bert_lightning::{name}", mutates_args=())


def wrap_triton(kernel: Any) -> Any:
    """Return a kernel that the compiler sees; torch finds the kernels of an operation by the name of this function."""
    return kernel if IS_INTERPRETED else torch.library.wrap_triton(kernel)


def random_words(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Draw words of 32 bits that decide over dropout, from torch's generator or the compiler's."""
    return torch.randint(-INT32, INT32, shape, dtype=torch.int32, device=like.device)
