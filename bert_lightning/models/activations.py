"""Activation functions of feed-forward networks and heads, by the names of the published config.json."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


def gated(activation: Activation) -> Activation:
    """Return the activation of a gated network (Shazeer, 2020): one half of the input, activated, times the other."""

    def apply(x: Tensor) -> Tensor:
        value, gate = x.chunk(2, -1)
        return activation(value) * gate

    return apply
