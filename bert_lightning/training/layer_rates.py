"""Learning rates that differ by depth: a normal one for a new head, smaller ones the nearer a layer is to the input.

With a decay d, the head has the rate lr, the last of L layers lr * d, the first lr * d ** L, and the embeddings
lr * d ** (L + 1) (Clark et al., 2020, appendix B). The released code of ELECTRA multiplied the rates of several layers
once too often; here every parameter has one rate.
"""

import re
from dataclasses import dataclass
from typing import Any

from bert_lightning.objectives.objective import Objective
from bert_lightning.training.optim import parameter_groups

_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
_EMBEDDINGS, _LAST_NORM = "encoder.embeddings.", "encoder.norm."


@dataclass(frozen=True, slots=True)
class LayerRates:
    """The parameter groups of an objective, each with its learning rate.

    Attributes:
        lr: Rate of the last layer but for the decay, and of the head if it has none of its own.
        head_lr: Rate of everything outside the encoder; None takes `lr`.
        layer_decay: Factor from one layer to the next one below it; 1 gives all layers the same rate.
    """

    lr: float
    head_lr: float | None = None
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be above 0 and at most 1; got {self.layer_decay}")
        if self.head_lr is not None and self.head_lr <= 0:
            raise ValueError(f"head_lr must be a number above 0, or null; got {self.head_lr}")

    def __call__(self, objective: Objective) -> list[dict[str, Any]]:
        """Return groups for a torch optimizer: with and without weight decay for every rate, the head first.

        Args:
            objective: Has one encoder, named `encoder`.

        Raises:
            ValueError: if layers share weights, which cannot have the rates of several layers.
        """
        config = objective.main_encoder().config
        if self.layer_decay < 1 and config.shared_parameters != "none":
            raise ValueError(
                f"layer_decay={self.layer_decay} gives every layer its rate, but the encoder has "
                f"model.shared_parameters={config.shared_parameters}; take layer_decay=1"
            )
        num_layers = config.num_hidden_layers
        rates = {id(each): self.rate(name, num_layers) for name, each in objective.named_parameters()}
        if len(set(rates.values())) == 1:
            return parameter_groups(objective)
        return [
            {**group, "params": [each for each in group["params"] if rates[id(each)] == rate], "lr": rate}
            for group in parameter_groups(objective)
            for rate in sorted({rates[id(each)] for each in group["params"]}, reverse=True)
        ]

    def rate(self, name: str, num_layers: int) -> float:
        """Return the learning rate of a parameter.

        >>> rates = LayerRates(lr=1.0, head_lr=2.0, layer_decay=0.5)
        >>> names = ("classifier.bias", "encoder.layers.1.x", "encoder.layers.0.x", "encoder.embeddings.token.weight")
        >>> [rates.rate(name, num_layers=2) for name in names]
        [2.0, 0.5, 0.25, 0.125]

        Args:
            name: Name of the parameter in the objective.
            num_layers: Layers of the encoder.
        """
        if name.startswith(_EMBEDDINGS):
            return self.lr * self.layer_decay ** (num_layers + 1)
        layer = _LAYER.match(name)
        if layer is not None:
            return self.lr * self.layer_decay ** (num_layers - int(layer[1]))
        if name.startswith(_LAST_NORM):
            return self.lr * self.layer_decay
        return self.lr if self.head_lr is None else self.head_lr
