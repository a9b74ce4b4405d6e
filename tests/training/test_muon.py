"""optimizer=muon: matrices get orthogonal updates, everything else AdamW's."""

import sys

import pytest
import torch
from torch import nn

from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.sequence_classification import SequenceClassification
from bert_lightning.training.layer_rates import LayerRates
from bert_lightning.training.muon import muon
from bert_lightning.training.optim import is_embedding, parameter_groups
from tests.support.models import tiny_encoder

RATES = {"lr": 0.02, "adamw_lr": 1e-3}


def model_with_gradients(seed: int = 0) -> MaskedLMWithNSP:
    torch.manual_seed(seed)
    model = MaskedLMWithNSP(tiny_encoder())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


def matrices(model: nn.Module) -> list[nn.Parameter]:
    return [module.weight for module in model.modules() if isinstance(module, nn.Linear)]


def test_matrices_move_by_orthogonal_updates() -> None:
    model = model_with_gradients()
    optimizer = muon(parameter_groups(model), **RATES, weight_decay=0.0)
    before = [matrix.detach().clone() for matrix in matrices(model)]
    optimizer.step()
    for old, new in zip(before, matrices(model), strict=True):
        values = torch.linalg.svdvals((old - new.detach()) / RATES["lr"])
        wide = max(1.0, (new.shape[0] / new.shape[1]) ** 0.5)  # tall matrices are scaled by the root of their ratio
        assert values.quantile(0.1) > 0.5 * wide  # five iterations leave the smallest values of a gradient small
        assert values.max() < 1.4 * wide


def test_everything_else_moves_as_adamw_moves_it() -> None:
    ours, reference = model_with_gradients(), model_with_gradients()
    muon(parameter_groups(ours), **RATES, weight_decay=0.1, adamw_betas=(0.9, 0.98), adamw_eps=1e-6).step()
    decay, no_decay = parameter_groups(reference)
    torch.optim.AdamW([decay, no_decay], lr=1e-3, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6).step()
    others = {id(matrix) for matrix in matrices(ours)}
    pairs = list(zip(ours.parameters(), reference.parameters(), strict=True))
    compared = [(one, other) for one, other in pairs if id(one) not in others]
    assert any(is_embedding(one) for one, _ in compared)
    for one, other in compared:
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert all(not torch.allclose(one, other) for one, other in pairs if id(one) in others)


def test_a_rate_of_a_group_is_in_proportion_for_everything_else() -> None:
    objective = SequenceClassification(tiny_encoder(60), 2)
    groups = LayerRates(RATES["lr"], head_lr=0.5 * RATES["lr"], layer_decay=0.5)(objective)
    found = {id(each): group["lr"] for group in muon(groups, **RATES).param_groups for each in group["params"]}
    rates = {name: found[id(parameter)] for name, parameter in objective.named_parameters()}
    assert rates["classifier.weight"] == 0.5 * RATES["lr"]
    assert rates["classifier.bias"] == pytest.approx(0.5 * RATES["adamw_lr"])
    assert rates["encoder.layers.1.output.bias"] == pytest.approx(0.5 * RATES["adamw_lr"])
    assert rates["encoder.embeddings.token.weight"] == pytest.approx(0.125 * RATES["adamw_lr"])


def test_the_extra_is_named_if_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(ValueError, match="optimizer=muon needs the extra `optim`"):
        muon([{"params": [nn.Parameter(torch.zeros(1))]}], **RATES)


@pytest.mark.parametrize("name", ["lr", "adamw_lr"])
def test_a_rate_that_is_not_above_0_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^optimizer\.{name} must be above 0; got 0$"):
        muon([], **{"lr": 0.1, "adamw_lr": 0.1} | {name: 0})
