"""Optimizers of pytorch_optimizer, which the extra `optim` installs: LAMB, StableAdamW, and for `muon` Muon."""

import importlib
from collections.abc import Sequence
from math import inf
from typing import Any

from torch.optim import Optimizer

_PACKAGE = "pytorch_optimizer"
_NOTES = ("weight_norm", "adam_norm", "trust_ratio")
"""What LAMB of the package writes into its state for readers; no update reads it."""


def make_optimizer(kind: str, groups: Sequence[dict[str, Any]], setting: str, **settings: Any) -> Optimizer:
    """Return an optimizer of the package.

    A step without gradients, which is one that was skipped, does not count in its moments, as in torch's optimizers.

    Args:
        kind: Name of the class.
        groups: Groups of parameters.
        setting: What the user writes to have it, such as "muon", for the error.
        **settings: Settings of the class.

    Raises:
        ValueError: if the extra `optim` is not installed.
    """
    try:
        package = importlib.import_module(_PACKAGE)
    except ImportError as error:
        raise ValueError(f"optimizer={setting} needs the extra `optim`: {error}") from error
    optimizer: Optimizer = getattr(package, kind)(groups, **settings)
    optimizer.register_step_post_hook(_after_step)
    return optimizer


def lamb(
    groups: Sequence[dict[str, Any]],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    max_weight_norm: float | None = None,
) -> Optimizer:
    """Return LAMB: Adam's update of each tensor, scaled to the norm of the tensor (You et al., 2020).

    As in google-research/albert: no bias correction, weight decay inside the scaled update, and no scaling for
    groups without weight decay, which are biases and normalizations.

    Args:
        groups: Groups of `parameter_groups`.
        lr: Learning rate.
        betas: Decay rates of the moments.
        eps: Term against division by zero.
        weight_decay: Weight decay.
        max_weight_norm: Largest norm of a tensor that its update is scaled to (10 in version 3 of the paper); None for
            no limit.

    Raises:
        ValueError: if the extra `optim` is not installed.
    """
    scaled = [{"adam": group.get("weight_decay", weight_decay) == 0, **group} for group in groups]
    settings: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    as_published = {"weight_decouple": False, "adam_debias": True}  # else it divides lr by the first bias correction
    optimizer: Any = make_optimizer("Lamb", scaled, "lamb", **settings, **as_published)
    optimizer.clamp = inf if max_weight_norm is None else max_weight_norm
    return optimizer


def stable_adamw(
    groups: Sequence[dict[str, Any]],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.98),
    eps: float = 1e-6,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Return StableAdamW: AdamW whose steps are shortened where its second moment lags behind (Wortsman et al., 2023).

    Args:
        groups: Groups of `parameter_groups`.
        lr: Learning rate.
        betas: Decay rates of the moments.
        eps: Term against division by zero.
        weight_decay: Decoupled weight decay.

    Raises:
        ValueError: if the extra `optim` is not installed.
    """
    settings: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    return make_optimizer("StableAdamW", groups, "stable_adamw", kahan_sum=False, **settings)


def _after_step(optimizer: Optimizer, *_: Any) -> None:
    """Take the count of a skipped step back, and drop from the state what checkpoints need not carry."""
    for group in optimizer.param_groups:
        if all(parameter.grad is None for parameter in group["params"]):
            group["step"] -= 1
    for state in optimizer.state.values():
        for name in [name for name in state if name in _NOTES or state[name] is None]:
            del state[name]
