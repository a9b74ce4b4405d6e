"""LAMB and StableAdamW: Adam's moments, and a step whose length each tensor decides for itself.

The norms are those of whole tensors, also if FSDP2 has sharded them. pytorch_optimizer has both, but with version 4.1
they do not run under FSDP2, and its LAMB divides the rate by the bias correction that the paper leaves out.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer


class TensorwiseAdam(Optimizer):
    """Adam's two moments; a subclass says how a tensor moves."""

    def __init__(self, groups: Iterable[Any], **settings: Any) -> None:
        for name, beta in zip(("beta1", "beta2"), settings["betas"], strict=True):
            if not 0 <= beta < 1:
                raise ValueError(f"optimizer.betas={settings['betas']} has {name}={beta}, which must be in [0, 1)")
        for name in ("lr", "eps", "weight_decay"):
            if not settings[name] >= 0:
                raise ValueError(f"optimizer.{name} must be at least 0; got {settings[name]}")
        super().__init__(groups, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every tensor that has a gradient; return what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, self._state_of(parameter), group)
        return loss

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        """Return the moments of a tensor, and the steps that it has made."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        return state

    def _move(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError


class Lamb(TensorwiseAdam):
    """Adam's update of each tensor, scaled to the norm of the tensor (You et al., 2020, algorithm 2).

    As in google-research/albert: no bias correction, weight decay inside the scaled update, and no scaling of groups
    whose weight decay is set to 0, which are biases and normalizations. A tensor that has had gradients of 0 alone,
    because its loss has no weight, has no direction to scale and only decays; the paper's rule would have it shrink by
    the learning rate at every step.

    Args:
        groups: Groups of `parameter_groups`.
        lr: Learning rate.
        betas: Decay rates of the moments.
        eps: Term against division by zero.
        weight_decay: Weight decay.
        max_weight_norm: Largest norm of a tensor that its update is scaled to; None for no limit.
    """

    def __init__(
        self,
        groups: Iterable[Any],
        lr: float = 1.76e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        max_weight_norm: float | None = None,
    ) -> None:
        if max_weight_norm is not None and not max_weight_norm > 0:
            raise ValueError(f"optimizer.max_weight_norm must be above 0, or null; got {max_weight_norm}")
        given = [group if isinstance(group, dict) else {"params": [group]} for group in groups]
        scaled = [{"is_scaled": group.get("weight_decay") != 0, **group} for group in given]
        settings = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "max_weight_norm": max_weight_norm}
        super().__init__(scaled, lr=lr, **settings)

    def _move(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        first, second = moments(state, gradient, *group["betas"])
        update = first / second.sqrt().add_(group["eps"])
        update.add_(parameter, alpha=group["weight_decay"])
        if group["is_scaled"]:
            weight_norm, norm, moved = (whole(torch.linalg.vector_norm(each)) for each in (parameter, update, first))
            target = weight_norm.clamp(max=group["max_weight_norm"] or torch.inf)
            update.mul_(torch.where((target > 0) & (norm > 0) & (moved > 0), target / norm, 1.0))
        parameter.sub_(update, alpha=group["lr"])


class StableAdamW(TensorwiseAdam):
    """AdamW that shortens the step of a tensor whose second moment lags behind (Wortsman et al., 2023, algorithm 2).

    Args:
        groups: Groups of `parameter_groups`.
        lr: Learning rate.
        betas: Decay rates of the moments.
        eps: Term against division by zero.
        weight_decay: Decoupled weight decay.
    """

    def __init__(
        self,
        groups: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _move(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        count = int(state["step"])
        corrected = ((beta - beta**count) / (1 - beta**count) for beta in group["betas"])  # for the bias
        first, second = moments(state, gradient, *corrected)
        mean_square = whole((gradient.square() / second.clamp(min=group["eps"] ** 2)).mean())
        rate = group["lr"] / mean_square.sqrt().clamp(min=1.0)
        parameter.mul_(1 - rate * group["weight_decay"])
        parameter.sub_(first / second.sqrt().add_(group["eps"]) * rate)


def moments(state: dict[str, Any], gradient: Tensor, beta1: float, beta2: float) -> tuple[Tensor, Tensor]:
    """Return the running means of a gradient and of its square, after this gradient."""
    first = state["exp_avg"].lerp_(gradient, 1 - beta1)
    return first, state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)


def whole(value: Tensor) -> Tensor:
    """Return a quantity of a whole tensor if this rank knows it of a shard."""
    return value.full_tensor() if isinstance(value, DTensor) else value
