"""Which hidden states of an encoder are read, and how several layers become one vector (Devlin et al., 2019, 5.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.packed_batch import PackedTokens

COMBINATIONS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "concat": lambda states: torch.cat(list(states), dim=-1),
    "sum": lambda states: torch.stack(list(states)).sum(0),
    "mean": lambda states: torch.stack(list(states)).mean(0),
}
"""How several layers become one vector."""


@dataclass(frozen=True, slots=True)
class LayerReading:
    """The hidden states that are read; `layer_reading` makes one of what a user says.

    Attributes:
        layers: Their numbers, 0 for the output of the embeddings; None for the last layer alone.
        combine: How several layers become one vector: one of `COMBINATIONS`.
    """

    layers: list[int] | None = None
    combine: str = "concat"

    def __post_init__(self) -> None:
        if self.combine not in COMBINATIONS:
            raise ValueError(f"combine must be one of {', '.join(COMBINATIONS)}; got {self.combine}")

    @property
    def is_last(self) -> bool:
        """Whether the last layer is read, and no other."""
        return self.layers is None

    def check(self, config: EncoderConfig) -> None:
        """Raise a ValueError if an encoder does not have the layers."""
        if self.layers is not None and not all(0 <= layer <= config.num_hidden_layers for layer in self.layers):
            raise ValueError(f"layers {self.layers} are read, but the encoder has {config.num_hidden_layers}")

    def width(self, hidden_size: int) -> int:
        """Return the size of the combined vector."""
        return hidden_size * (len(self.layers) if self.layers is not None and self.combine == "concat" else 1)

    def __call__(self, encoder: Encoder, tokens: PackedTokens, rows: Tensor | None = None) -> Tensor:
        """Return the combined hidden states of packed tokens; layers above those that are read are not run.

        Args:
            encoder: The encoder, which has the layers.
            tokens: Sequences, one after another.
            rows: Indices of the tokens that are wanted, (rows,); None for all.

        Returns:
            (tokens, width), or (rows, width) if rows are given.
        """
        if self.layers is None:
            return encoder(tokens, rows)
        states: dict[int, Tensor] = {}
        for number, hidden in enumerate(encoder.hidden_states(tokens)):
            if number in self.layers:
                states[number] = hidden if rows is None else hidden.index_select(0, rows)
            if number == max(self.layers):
                break
        return COMBINATIONS[self.combine]([states[number] for number in self.layers])


def layer_reading(layers: Sequence[Any], combine: str, config: EncoderConfig) -> LayerReading:
    """Return the reading of some layers.

    Args:
        layers: Numbers of hidden states: 0 is the output of the embeddings, 1 that of the first layer, -1 that of the
            last.
        combine: How several layers become one vector: one of `COMBINATIONS`.
        config: Sizes of the encoder.

    Raises:
        ValueError: naming the setting that is none of these, or that the encoder does not have.
    """
    depth = config.num_hidden_layers
    if not layers or not all(type(layer) is int and -depth - 1 <= layer <= depth for layer in layers):
        raise ValueError(f"layers must be numbers from {-depth - 1} to {depth}; got {list(layers)}")
    numbers = [layer % (depth + 1) for layer in layers]
    return LayerReading(None if numbers == [depth] else numbers, combine)
