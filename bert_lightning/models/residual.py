"""How the halves of a layer end: a projection, dropout, the residual connection, LayerNorm; and how GELU begins.

On GPUs in half precision all between two matrix products is one kernel (`fused_pointwise`), biases included, so that no
kernel reads a gradient only to sum it for a bias.
"""

from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_lightning.models.activations import Activation
from bert_lightning.models.dropout import Dropout
from bert_lightning.models.embeddings import computing_dtype

HAS_TRITON = find_spec("triton") is not None
MOST_FUSED = 4096
"""The widest hidden states that the kernels of LayerNorm hold at once."""


def add_and_normalize(
    linear: nn.Linear, norm: nn.LayerNorm, dropout: Dropout, inputs: Tensor, residual: Tensor, num_readers: int
) -> tuple[Tensor, ...]:
    """Return LayerNorm(residual + dropout(linear(inputs))) in the dtype of the projection; LayerNorm computes in fp32.

    Returns:
        The same values, (tokens, hidden), for each of one or two readers. If a projection and a residual connection
        read them, the kernel can add their gradients.
    """
    fits = linear.out_features <= MOST_FUSED and norm.bias is not None and residual.dtype == computing_dtype(inputs)
    if not fits or not _fuses(linear, inputs):
        update = linear(inputs)
        normalized = norm(dropout(update, residual)).to(update.dtype)
        return (normalized,) * num_readers
    from bert_lightning.models import fused_pointwise

    dropout_p = dropout.p if dropout.training else 0.0
    update = F.linear(inputs, linear.weight)
    parameters = (linear.bias, residual, norm.weight, norm.bias, norm.eps, dropout_p, num_readers)
    return fused_pointwise.add_and_normalize(update, *parameters)


def project_and_activate(linear: nn.Linear, activation: Activation, inputs: Tensor) -> Tensor:
    """Return activation(linear(inputs)), (tokens, intermediate)."""
    if activation is not F.gelu or not _fuses(linear, inputs):
        return activation(linear(inputs))
    from bert_lightning.models import fused_pointwise

    return fused_pointwise.biased_gelu(F.linear(inputs, linear.weight), linear.bias)


def _fuses(linear: nn.Linear, inputs: Tensor) -> bool:
    """Return whether the kernels take what a linear layer makes: an ordinary one with a bias, not one in fp8."""
    is_half = computing_dtype(inputs) in (torch.bfloat16, torch.float16)
    return HAS_TRITON and inputs.is_cuda and is_half and type(linear) is nn.Linear and linear.bias is not None
