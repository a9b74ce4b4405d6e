"""Bytes that a rank has to send in a training step, by the formulas of ring algorithms (Patarasu and Yuan, 2009).

A ring reduces S bytes over n ranks while each sends 2 (n-1)/n S; gathering and reduce-scattering are half of it each.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from bert_lightning.execution.sharding import blocks_of


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Parameters of a model, tied ones once.

    Attributes:
        root: Parameters outside the blocks: embeddings, heads.
        blocks: Parameters of the layers.
    """

    root: int
    blocks: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.root + self.blocks

    @staticmethod
    def of(objective: nn.Module) -> "ModelSize":
        """Count an objective's."""
        total = sum(parameter.numel() for parameter in objective.parameters())
        blocks = sum(parameter.numel() for block in blocks_of(objective) for parameter in block.parameters())
        return ModelSize(total - blocks, blocks)


def ddp_bytes(size: ModelSize, ranks: int, gradient_bytes: int = 4) -> float:
    """Return what a rank sends in a step, whatever the number of its micro-batches.

    >>> ddp_bytes(ModelSize(20, 80), 2), ddp_bytes(ModelSize(20, 80), 4, gradient_bytes=2)
    (400.0, 300.0)
    """
    return 2 * (ranks - 1) / ranks * size.total * gradient_bytes


def fsdp_bytes(
    size: ModelSize, ranks: int, micro_batches: int = 1, gathers_twice: bool = True, parameter_bytes: int = 4
) -> float:
    """Return what a rank sends in a step.

    Parameters are gathered for every micro-batch, gradients are reduced in fp32 once. The blocks are gathered once more
    for the backward pass if they were dropped; the root is kept.

    >>> fsdp_bytes(ModelSize(20, 80), 2), fsdp_bytes(ModelSize(20, 80), 2, gathers_twice=False)
    (560.0, 400.0)
    """
    gathered = micro_batches * (size.root + (2 if gathers_twice else 1) * size.blocks) * parameter_bytes
    return (ranks - 1) / ranks * (gathered + 4 * size.total)


def fsdp_bytes_on_gloo(size: ModelSize, ranks: int, **options: Any) -> float:
    """Return the same for gloo, whose reduce-scatter is an all-reduce of which each rank keeps its part.

    >>> fsdp_bytes_on_gloo(ModelSize(20, 80), 2)
    760.0
    """
    return fsdp_bytes(size, ranks, **options) + (ranks - 1) / ranks * 4 * size.total
