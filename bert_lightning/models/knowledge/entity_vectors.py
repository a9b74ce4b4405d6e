"""The vectors of all entities that mentions may name: read, never trained, and in no checkpoint."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class EntityVectors(nn.Module):
    """A frozen table with a row for each entity.

    Whoever reads it keeps it in a tuple, so that it is no submodule.

    Args:
        vectors: The table, (entities, entity_size).
        sha256: Digest of the file that the table was read from, in hex.

    Attributes:
        vectors: The table, (entities, entity_size), fp32, without a gradient.
        sha256: Digest of its file.
    """

    vectors: Tensor

    def __init__(self, vectors: NDArray[np.float32] | Sequence[Sequence[float]], sha256: str) -> None:
        super().__init__()
        table = torch.from_numpy(np.array(vectors, dtype=np.float32))  # a copy, which torch may write to
        if len(table) < 2:
            raise ValueError(f"data.path has {len(table)} entities, objective=entity_denoising needs at least 2")
        self.register_buffer("vectors", table, persistent=False)
        self.sha256 = sha256

    @property
    def num_entities(self) -> int:
        """Number of rows of the table."""
        return self.vectors.shape[0]

    @property
    def entity_size(self) -> int:
        """Length of a vector."""
        return self.vectors.shape[1]

    def forward(self, entities: Tensor) -> Tensor:
        """Return the vectors of some entities, (mentions, entity_size), for their rows in the table, (mentions,)."""
        return self.vectors.index_select(0, entities)
