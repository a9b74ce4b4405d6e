"""The norms of the layers together are the norm of all gradients, and a run without the setting logs none."""

from math import sqrt
from pathlib import Path

import pytest
import torch

from bert_lightning.callbacks.gradient_norms import GradientNorms, layer_groups
from bert_lightning.metrics.metrics_log import read_rows
from tests.support.training import fit, make_module, make_objective

PREFIX = "optim/grad_norm/"


def test_every_trainable_parameter_is_in_one_group(prepared: Path) -> None:
    objective = make_objective(prepared)
    groups = layer_groups(objective)
    assert {"encoder.layers.00", "encoder.layers.01", "mlm_head.transform"} <= set(groups)
    grouped = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(grouped) == sorted(map(id, objective.parameters()))


def test_a_compiled_layer_has_the_name_of_its_layer() -> None:
    model = torch.nn.Module()
    layers = torch.nn.ModuleList([torch.compile(torch.nn.Linear(2, 2)), torch.nn.Linear(2, 2)])
    model.add_module("layers", layers)
    assert set(layer_groups(model)) == {"layers.00", "layers.01"}


def test_the_norms_of_the_layers_make_up_the_whole(prepared: Path, tmp_path: Path) -> None:
    module = make_module(make_objective(prepared), 4, log_every_n_steps=1)
    fit(module, prepared, tmp_path, 4, callbacks=[GradientNorms(every_n_steps=2)])
    rows = read_rows(tmp_path / "metrics.csv")
    for step, row in rows.items():
        norms = [float(cell) for name, cell in row.items() if name.startswith(PREFIX)]
        assert bool(norms) == (step % 2 == 0)
        if norms:
            whole = sqrt(sum(norm**2 for norm in norms))
            assert whole == pytest.approx(float(row["optim/grad_norm"]), rel=1e-4)


def test_a_number_of_steps_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"callbacks\.gradient_norms\.every_n_steps must be a whole number"):
        GradientNorms(0)
    GradientNorms(None)
