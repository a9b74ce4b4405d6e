"""The gradient norm of every layer, to see which part of a model a spike comes from."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from bert_lightning.training.optim import gradient_norm
from data_pipeline.whole_numbers import check_whole_number


def layer_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters by the layer or the head that they belong to.

    A layer is an entry of a list of modules, such as `encoder.layers.3`; what is in no list is named after its first
    two modules. A tied table is in one group, once.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        parts = [part for part in name.split(".")[:-1] if part not in ("_orig_mod", "_fsdp_wrapped_module")]
        number = next((place for place, part in enumerate(parts) if part.isdecimal()), None)
        if number is not None:
            parts[number] = f"{int(parts[number]):02d}"
        kept = parts[: 2 if number is None else number + 1]
        groups.setdefault(".".join(kept) or "other", []).append(parameter)
    return groups


class GradientNorms(L.Callback):
    """Log `optim/grad_norm/<layer>` every few steps, of the gradients that the update is made from.

    A fused optimizer clips inside its kernel, so its norms are those before clipping; those of another one are after.

    Args:
        every_n_steps: Steps between two readings, each of which waits for the device; None reads nothing.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        check_whole_number("callbacks.gradient_norms.every_n_steps", every_n_steps, or_null=True)
        self.every_n_steps = every_n_steps
        self._groups: dict[str, list[nn.Parameter]] = {}
        self._norms: Mapping[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Take the norms if a reading is due; all ranks take them, as gradients may be sharded."""
        if self.every_n_steps is None or (trainer.global_step + 1) % self.every_n_steps:
            return
        if not self._groups:
            self._groups = layer_groups(pl_module.objective)
        self._norms = {name: gradient_norm(parameters) for name, parameters in self._groups.items()}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        """Log the norms of the step that was made."""
        if self._norms:
            values = torch.stack(list(self._norms.values())).tolist()
            names = (f"optim/grad_norm/{name}" for name in self._norms)
            pl_module.log_values(dict(zip(names, values, strict=True)))
            self._norms = {}
