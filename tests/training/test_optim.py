"""Every parameter is in exactly one group, and an update is clipped or skipped without a trace."""

import copy

import pytest
import torch
from torch import Tensor, nn

from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.training.optim import (
    gradient_norm,
    parameter_groups,
    prepare_update,
    settings_of,
    take_settings,
)
from tests.support.models import tiny_encoder

CONFIG = tiny_encoder(dropout=0.1)


def names(model: nn.Module, group: list[Tensor]) -> set[str]:
    wanted = {id(parameter) for parameter in group}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def test_every_parameter_is_in_exactly_one_group() -> None:
    model = MaskedLMWithNSP(CONFIG)
    decay, no_decay = parameter_groups(model)
    grouped = [id(parameter) for parameter in decay["params"] + no_decay["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in model.parameters()}
    assert "weight_decay" not in decay
    assert no_decay["weight_decay"] == 0.0


def test_biases_and_normalisations_do_not_decay() -> None:
    model = MaskedLMWithNSP(CONFIG)
    decay, no_decay = (names(model, group["params"]) for group in parameter_groups(model))
    norms = {
        f"{owner}.{name}"
        for owner, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for name, _ in module.named_parameters()
    }
    assert norms
    assert no_decay == norms | {name for name, _ in model.named_parameters() if name.endswith("bias")}
    assert any("embeddings.token" in name for name in decay)


def test_biases_of_recurrent_cells_do_not_decay() -> None:
    decay, no_decay = parameter_groups(nn.LSTMCell(2, 3))
    assert [each.ndim for each in decay["params"]] == [2, 2]
    assert [each.ndim for each in no_decay["params"]] == [1, 1]


def test_a_one_dimensional_weight_decays_and_a_frozen_one_is_left_out() -> None:
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(3))
    model.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    decay, no_decay = parameter_groups(model)
    assert decay["params"][0] is model.scale
    assert len(decay["params"]) == 1
    assert no_decay["params"] == []


def trained(
    fused: bool, gradients: list[Tensor], max_norm: float | None
) -> tuple[Tensor, dict[str, Tensor], list[bool]]:
    parameter = nn.Parameter(torch.linspace(-1, 1, 6))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=fused)
    skips = []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        skips.append(bool(prepare_update(optimizer, gradient_norm([parameter]), max_norm)))
        optimizer.step()
    return parameter.detach(), optimizer.state[parameter], skips


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_skipped_step_leaves_no_trace(fused: bool, bad: float) -> None:
    good = [torch.randn(6, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    poisoned = copy.deepcopy(good[0])
    poisoned[2] = bad
    expected, state, _ = trained(fused, good, 1.0)
    found, found_state, skips = trained(fused, [poisoned, good[0], poisoned, *good[1:]], 1.0)
    assert skips == [True, False, True, False, False]
    assert torch.equal(found, expected)
    assert all(torch.equal(found_state[name], value) for name, value in state.items())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("max_norm", [0.5, 100.0, None])
def test_clipping_equals_torch(fused: bool, max_norm: float | None) -> None:
    gradients = [torch.randn(6, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    found, state, _ = trained(fused, gradients, max_norm)
    parameter = nn.Parameter(torch.linspace(-1, 1, 6))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_([parameter], max_norm or float("inf"))
        optimizer.step()
    assert torch.allclose(found, parameter.detach(), atol=1e-6)
    assert torch.allclose(state["exp_avg"], optimizer.state[parameter]["exp_avg"], atol=1e-6)


@pytest.mark.parametrize("kind", ["AdamW", "Muon", "SGD"])
def test_the_settings_of_an_optimizer_act_after_a_state_was_loaded(kind: str) -> None:
    """A matrix takes three steps with old settings and one with new ones: as if they had changed in place."""
    name = {"AdamW": "betas", "Muon": "momentum", "SGD": "momentum"}[kind]
    old, new = ((0.9, 0.999), (0.5, 0.9)) if kind == "AdamW" else (0.9, 0.5)
    gradients = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))

    def optimizer(value: object, weight_decay: float) -> tuple[nn.Parameter, torch.optim.Optimizer]:
        matrix = nn.Parameter(torch.ones(3, 2))
        groups = [{"params": [matrix]}, {"params": [nn.Parameter(torch.ones(1, 1))], "weight_decay": 0.0}]
        made = getattr(torch.optim, kind)(groups, lr=0.1, weight_decay=weight_decay, **{name: value})
        return matrix, made

    def step(matrix: nn.Parameter, made: torch.optim.Optimizer, gradient: Tensor) -> None:
        matrix.grad = gradient.clone()
        made.step()

    before, whole = optimizer(old, 0.01)
    for gradient in gradients[:3]:
        step(before, whole, gradient)
    matrix, resumed = optimizer(new, 0.5)
    settings = settings_of(resumed)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    matrix.data = before.detach().clone()
    take_settings(resumed, settings)
    assert settings_of(resumed) == settings
    assert [group["weight_decay"] for group in resumed.param_groups] == [0.5, 0.0]
    whole.param_groups[0].update({name: new, "weight_decay": 0.5})
    step(before, whole, gradients[3])
    step(matrix, resumed, gradients[3])
    assert torch.equal(before, matrix)


def test_a_fused_kernel_goes_on_from_the_state_of_another_one() -> None:
    """Fused kernels read the number of updates as fp32 on their device."""
    parameter = nn.Parameter(torch.ones(3))
    plain = torch.optim.AdamW([parameter], fused=False)
    parameter.grad = torch.ones(3)
    plain.step()
    state = plain.state_dict()
    state["state"][0]["step"] = state["state"][0]["step"].double()
    fused = torch.optim.AdamW([parameter], fused=True)
    settings = settings_of(fused)
    fused.load_state_dict(state)
    take_settings(fused, settings)
    assert fused.state[parameter]["step"].dtype == torch.float32
    fused.step()
    assert fused.state[parameter]["step"] == 2
