"""Muon for the matrices between hidden states, AdamW for everything else (Jordan et al., 2024).

The optimizer is that of pytorch_optimizer, which the extra `optim` installs. Embedding tables, one of which is the
decoder too, biases and normalizations are AdamW's, as the authors of Muon advise.
"""

from collections.abc import Sequence
from typing import Any

from torch.nn import Parameter
from torch.optim import Optimizer

from bert_lightning.training.optim import is_embedding


def muon(
    groups: Sequence[dict[str, Any]],
    lr: float,
    adamw_lr: float,
    weight_decay: float = 0.01,
    momentum: float = 0.95,
    adamw_betas: tuple[float, float] = (0.9, 0.98),
    adamw_eps: float = 1e-6,
) -> Optimizer:
    """Return an optimizer of the groups of `parameter_groups`, each of them split in two.

    Args:
        groups: Groups of parameters, with settings that differ from those below.
        lr: Learning rate of matrices.
        adamw_lr: Learning rate of everything else. In a group with a rate of its own it differs by the same factor.
        weight_decay: Decoupled weight decay of both.
        momentum: Momentum of matrices.
        adamw_betas: Decay rates of the moments of everything else.
        adamw_eps: AdamW's term against division by zero.

    Raises:
        ValueError: if the extra `optim` is not installed, or a rate is not above 0.
    """
    for name, rate in (("lr", lr), ("adamw_lr", adamw_lr)):
        if not rate > 0:
            raise ValueError(f"optimizer.{name} must be above 0; got {rate}")
    try:
        from pytorch_optimizer import Muon
    except ImportError as error:
        raise ValueError(f"optimizer=muon needs the extra `optim`: {error}") from error
    halves = [half for group in groups for half in _split(group, adamw_lr / lr)]
    optimizer = Muon(
        [half for half in halves if half["params"]],
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        adamw_lr=adamw_lr,
        adamw_betas=adamw_betas,
        adamw_wd=weight_decay,
        adamw_eps=adamw_eps,
    )
    optimizer.register_step_post_hook(_forget_skipped)
    return optimizer


def _forget_skipped(optimizer: Optimizer, *_: Any) -> None:
    """Take a step back that had no gradients, because it was skipped: it counts in the moments of no optimizer."""
    for group in optimizer.param_groups:
        if all(parameter.grad is None for parameter in group["params"]):
            group["step"] -= 1


def _split(group: dict[str, Any], factor: float) -> list[dict[str, Any]]:
    """Return a group as its matrices, which Muon updates, and the rest; both keep the order of their parameters.

    Args:
        group: The group.
        factor: Learning rate of the rest, divided by that of the matrices.
    """
    matrices = [parameter for parameter in group["params"] if _is_matrix(parameter)]
    others = [parameter for parameter in group["params"] if not _is_matrix(parameter)]
    rate = {"lr": factor * group["lr"]} if "lr" in group else {}
    return [
        {**group, "params": matrices, "use_muon": True},
        {**group, **rate, "params": others, "use_muon": False},
    ]


def _is_matrix(parameter: Parameter) -> bool:
    return parameter.ndim == 2 and not is_embedding(parameter)
