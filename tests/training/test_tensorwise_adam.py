"""optimizer=lamb and optimizer=stable_adamw: updates against closed forms, and what they have in common with muon."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.training.muon import muon
from bert_lightning.training.optim import gradient_norm, parameter_groups, prepare_update, settings_of, take_settings
from bert_lightning.training.tensorwise_adam import Lamb, StableAdamW
from tests.support.models import tiny_encoder

LAMB: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1}
MAKERS: dict[str, Callable[..., Optimizer]] = {
    "lamb": partial(Lamb, **LAMB),
    "stable_adamw": partial(StableAdamW, lr=1e-2),
    "muon": partial(muon, lr=0.02, adamw_lr=1e-2),
}


def tiny_model(seed: int = 0) -> MaskedLMWithNSP:
    torch.manual_seed(seed)
    return MaskedLMWithNSP(tiny_encoder())


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def two_steps(make: Callable[..., Optimizer]) -> tuple[list[Tensor], list[list[Tensor]], list[bool], list[Tensor]]:
    """Weights before, gradients of both steps, whether a tensor decays, and weights after."""
    model = tiny_model()
    groups = parameter_groups(model)
    decays = {id(parameter) for parameter in groups[0]["params"]}
    optimizer = make(groups)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    gradients = []
    for seed in (1, 2):
        give_gradients(model, seed)
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        optimizer.step()
    after = [parameter.detach().clone() for parameter in model.parameters()]
    return before, gradients, [id(parameter) in decays for parameter in model.parameters()], after


@pytest.mark.parametrize("limit", [None, 0.5])
def test_lamb_moves_tensors_by_the_closed_form(limit: float | None) -> None:
    before, gradients, decays, after = two_steps(partial(Lamb, **LAMB, max_weight_norm=limit))
    for number, (weight, decay, new) in enumerate(zip(before, decays, after, strict=True)):
        first, second, weight = torch.zeros_like(weight), torch.zeros_like(weight), weight.double()
        for step in gradients:
            gradient = step[number].double()
            first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
            update = first / (second.sqrt() + 1e-6) + (0.1 * weight if decay else 0)
            norm = weight.norm() if limit is None else weight.norm().clamp(max=limit)
            scaled = decay and norm > 0 and update.norm() > 0
            weight = weight - 0.01 * (norm / update.norm() if scaled else 1.0) * update
        torch.testing.assert_close(new.double(), weight, atol=1e-6, rtol=1e-5)


def test_a_tensor_without_a_loss_only_decays_under_lamb() -> None:
    weight = nn.Parameter(torch.full((4, 4), 2.0))
    optimizer = Lamb([{"params": [weight]}], **LAMB)
    for _ in range(100):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 4), 2.0 * (1 - 0.01 * 0.1) ** 100))


def test_stable_adamw_moves_tensors_by_the_closed_form() -> None:
    before, gradients, decays, after = two_steps(partial(StableAdamW, lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1))
    shortened = 0
    for number, (weight, decay, new) in enumerate(zip(before, decays, after, strict=True)):
        first, second, weight = torch.zeros_like(weight), torch.zeros_like(weight), weight.double()
        for count, step in enumerate(gradients, 1):
            gradient = step[number].double()
            beta1, beta2 = ((beta - beta**count) / (1 - beta**count) for beta in (0.9, 0.98))
            first, second = beta1 * first + (1 - beta1) * gradient, beta2 * second + (1 - beta2) * gradient**2
            ratio = (gradient**2 / second.clamp(min=1e-12)).mean().sqrt().clamp(min=1)
            shortened += int(ratio > 1)
            weight = weight * (1 - (0.1 if decay else 0) * 1e-2 / ratio) - 1e-2 / ratio * first / (second.sqrt() + 1e-6)
        torch.testing.assert_close(new.double(), weight, atol=1e-6, rtol=1e-5)
    assert shortened > len(before) // 3


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_state_goes_on(name: str) -> None:
    whole, resumed = tiny_model(), tiny_model(seed=1)
    optimizer = MAKERS[name](parameter_groups(whole))
    for seed in (1, 2):
        give_gradients(whole, seed)
        optimizer.step()
    resumed.load_state_dict(whole.state_dict())
    again = MAKERS[name](parameter_groups(resumed))
    settings = settings_of(again)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_settings(again, settings)
    for model, one in ((whole, optimizer), (resumed, again)):
        give_gradients(model, 3)
        one.step()
    assert all(torch.equal(one, other) for one, other in zip(resumed.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize("name", MAKERS)
def test_a_step_without_finite_gradients_changes_nothing(name: str) -> None:
    """Neither weights nor moments nor the count of steps, the first step included."""
    models = tiny_model(), tiny_model()
    optimizers = [MAKERS[name](parameter_groups(model)) for model in models]
    for seed, broken in ((1, True), (2, False), (3, True), (4, False)):
        for turn, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            if broken and turn == 0:
                continue
            give_gradients(model, seed)
            if broken:
                next(model.parameters()).grad.fill_(torch.inf)
            prepare_update(optimizer, gradient_norm(model.parameters()), 1.0)
            optimizer.step()
    clean, mixed = (list(model.parameters()) for model in models)
    assert all(torch.equal(one, other) for one, other in zip(clean, mixed, strict=True))
    assert counts(optimizers[0]) == counts(optimizers[1])


def counts(optimizer: Optimizer) -> list[float]:
    """The steps that each group or tensor says it has made."""
    groups = [group["step"] for group in optimizer.param_groups if "step" in group]
    return groups + [float(state["step"]) for state in optimizer.state.values() if "step" in state]


@pytest.mark.parametrize("kind", [Lamb, StableAdamW])
def test_betas_that_are_none_are_refused(kind: type[Optimizer]) -> None:
    with pytest.raises(ValueError, match=r"optimizer\.betas=\(0\.9, 1\.0\) has beta2=1\.0, which must be in \[0, 1\)"):
        kind(parameter_groups(tiny_model()), betas=(0.9, 1.0))  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [Lamb, StableAdamW])
@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay"])
def test_numbers_below_0_are_refused(kind: type[Optimizer], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^optimizer\.{name} must be at least 0; got -1$"):
        kind([nn.Parameter(torch.zeros(1))], **{name: -1})


def test_a_largest_norm_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^optimizer\.max_weight_norm must be above 0, or null; got 0$"):
        Lamb([nn.Parameter(torch.zeros(1))], max_weight_norm=0)
