"""What an optimizer is given: weight-decay groups, the gradient norm, and an update that can be skipped.

Nothing in this file waits for the device if the optimizer is fused.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from data_pipeline.untrusted.internals import check_internal

NORMALIZATIONS = (nn.LayerNorm, nn.RMSNorm)
_EMBEDDING = "_is_embedding"


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that do not.

    Biases and everything inside a normalization layer do not decay (google-research/bert, optimization.py). The owner
    and the name decide, never the number of dimensions: a parameter may be flattened or sharded. A tied table is in
    one group, once.

    Returns:
        Two groups for a torch optimizer; the first takes the optimizer's own `weight_decay`, the second has 0.
    """
    decay: dict[int, nn.Parameter] = {}
    no_decay: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in decay or id(parameter) in no_decay:
                continue
            exempt = name.startswith("bias") or name.endswith("bias") or isinstance(module, NORMALIZATIONS)
            vars(parameter)[_EMBEDDING] = isinstance(module, nn.Embedding)
            (no_decay if exempt else decay)[id(parameter)] = parameter
    return [{"params": list(decay.values())}, {"params": list(no_decay.values()), "weight_decay": 0.0}]


def is_embedding(parameter: nn.Parameter) -> bool:
    """Return whether a parameter of `parameter_groups` is an embedding table."""
    return bool(vars(parameter).get(_EMBEDDING, False))


def settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return what the groups of an optimizer are made with besides their parameters: betas, weight decay and others."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def take_settings(optimizer: Optimizer, settings: Iterable[Mapping[str, Any]]) -> None:
    """Give the groups of an optimizer their settings again: a state that was loaded has brought those of its run.

    Args:
        optimizer: The optimizer, with the loaded state.
        settings: What `settings_of` returned before the state was loaded.
    """
    for group, values in zip(optimizer.param_groups, settings, strict=True):
        group.update(values)
        on_device = group.get("fused") or group.get("capturable")
        for parameter in group["params"] if on_device else []:
            state = optimizer.state.get(parameter, {})
            if isinstance(step := state.get("step"), Tensor):  # other kernels count the updates on the host
                state["step"] = step.to(parameter.device, torch.float32)


def allocate_gradients(model: nn.Module) -> None:
    """Give every trainable parameter a gradient of zeros, for backward passes to add to.

    A recorded CUDA graph writes gradients into memory that its next replay overwrites. A parameter without a gradient
    takes that memory as it is and loses what earlier micro-batches have accumulated; a parameter that has a gradient
    adds the new one to it. So the gradients must exist before the first recording and be zeroed in place after it.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the 2-norm of all gradients together, a scalar on their device; sharded gradients count as a whole."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def prepare_update(optimizer: Optimizer, norm: Tensor, max_norm: float | None) -> Tensor:
    """Make the next `optimizer.step()` clip the gradients to `max_norm`, or do nothing if they are not finite.

    Fused optimizers divide by `grad_scale` and skip on `found_inf` inside their kernel, so the device is not waited
    for; for others the norm is read. A skipped step leaves the parameters, the moments and their step counts alone.

    Args:
        optimizer: The torch optimizer, its gradients reduced over the ranks.
        norm: The 2-norm of all gradients, the same on every rank.
        max_norm: Largest norm to pass unchanged; None clips nothing.

    Returns:
        Whether the step is skipped, a boolean scalar on the device of `norm`.
    """
    skipped = ~torch.isfinite(norm)
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    if is_fused:
        check_internal(optimizer, "_step_supports_amp_scaling", "torch 2.11 and 2.13")
    divisor = None if max_norm is None else (norm / max_norm).clamp(min=1.0).float()
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        vars(optimizer).update(found_inf=skipped.float(), grad_scale=divisor)
    elif bool(skipped):
        optimizer.zero_grad(set_to_none=True)
    elif divisor is not None:
        for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
            parameter.grad.div_(divisor)
    return skipped
