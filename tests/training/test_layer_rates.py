"""Every parameter has one learning rate: by its depth, with the weight decay that it has anyway."""

import pytest
import torch

from bert_lightning.objectives.sequence_classification import SequenceClassification
from bert_lightning.training.layer_rates import LayerRates
from bert_lightning.training.optim import parameter_groups
from tests.support.models import tiny_encoder


def objective() -> SequenceClassification:
    return SequenceClassification(tiny_encoder(60), 2)


def test_rates_fall_from_the_head_to_the_embeddings() -> None:
    model = objective()
    groups = LayerRates(1e-3, head_lr=1e-2, layer_decay=0.5)(model)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    names = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert names["classifier.weight"] == names["pooler.dense.bias"] == 1e-2
    assert names["encoder.layers.1.output.weight"] == names["encoder.layers.1.output_norm.bias"] == 5e-4
    assert names["encoder.layers.0.attention.qkv.weight"] == 2.5e-4
    assert names["encoder.embeddings.token.weight"] == names["encoder.embeddings.norm.weight"] == 1.25e-4
    assert groups[0]["lr"] == 1e-2


def test_a_last_norm_belongs_to_the_last_layer() -> None:
    assert LayerRates(1.0, head_lr=2.0, layer_decay=0.5).rate("encoder.norm.weight", num_layers=2) == 0.5


def test_shared_layers_have_one_rate_only() -> None:
    model = SequenceClassification(tiny_encoder(60, shared_parameters="all"), 2)
    with pytest.raises(ValueError, match=r"layer_decay=0\.5 gives every layer its rate, .*shared_parameters=all"):
        LayerRates(1e-3, layer_decay=0.5)(model)
    assert LayerRates(1e-3, head_lr=1e-2)(model)[0]["lr"] == 1e-2


def test_every_parameter_is_in_one_group_with_its_weight_decay() -> None:
    model = objective()
    groups = LayerRates(1e-3, layer_decay=0.9)(model)
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert len(grouped) == len({id(each) for each in grouped}) == len(list(model.parameters()))
    plain = parameter_groups(model)
    exempt = {id(parameter) for parameter in plain[1]["params"]}
    for group in groups:
        assert all((id(each) in exempt) == (group.get("weight_decay") == 0.0) for each in group["params"])
    torch.optim.AdamW(groups, lr=1.0)


def test_one_rate_for_all_gives_the_usual_groups() -> None:
    model = objective()
    found, expected = LayerRates(1e-3)(model), parameter_groups(model)
    assert [len(group["params"]) for group in found] == [len(group["params"]) for group in expected]
    assert all("lr" not in group for group in found)


@pytest.mark.parametrize("decay", [0, 1.5])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"layer_decay must be above 0 and at most 1; got {decay}"):
        LayerRates(1e-3, layer_decay=decay)
