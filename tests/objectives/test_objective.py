"""Objectives beside each other: which targets they read, which heads they have, and that their labels never mix."""

from pathlib import Path

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.objective import Objective, weighted_loss
from bert_lightning.settings.conf_files import CONF_DIR
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.parity import CONFIG, gradients, losses, packed_examples
from tests.support.runs import run_here
from tests.support.settings import Settings


def with_order_labels(batch: PackedBatch) -> PackedBatch:
    """The same examples with their pair labels under the name of sentence order."""
    targets = {"mlm": batch.targets["mlm"], "sop": batch.targets["nsp"]}
    return PackedBatch(batch.tokens, targets, batch.sample_ids, batch.num_tokens, batch.num_examples)


def test_masked_tokens_alone_cost_what_they_cost_beside_pairs() -> None:
    """Without a pair head there is nothing of it in the state, and the MLM sums stay the same to the bit."""
    joint, alone, batch = MaskedLMWithNSP(CONFIG), MaskedLM(CONFIG), packed_examples()
    kept = {name: tensor for name, tensor in joint.state_dict().items() if not name.startswith("nsp_head")}
    alone.load_state_dict(kept, strict=True)
    sums, expected = alone(batch), joint(batch)
    assert sums.keys() == {"mlm_loss", "mlm_loss_per_byte", "mlm_accuracy"}
    for name, value in sums.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-6)


def test_order_and_next_sentence_are_one_computation_under_different_names() -> None:
    joint, order, batch = MaskedLMWithNSP(CONFIG), MaskedLMWithSOP(CONFIG), packed_examples()
    state = {name.replace("nsp_head", "sop_head"): tensor for name, tensor in joint.state_dict().items()}
    order.load_state_dict(state, strict=True)
    sums, expected = order(with_order_labels(batch)), joint(batch)
    for name, other in (("sop_loss", "nsp_loss"), ("sop_accuracy", "nsp_accuracy"), ("swapped", "random_next")):
        assert sums[name].item() == expected[other].item()


@pytest.mark.parametrize(
    ("objective", "given"),
    [(MaskedLMWithNSP, ("mlm",)), (MaskedLMWithNSP, ("mlm", "sop")), (MaskedLMWithSOP, ("mlm", "nsp"))],
)
def test_labels_of_another_question_are_refused(objective: type[Objective], given: tuple[str, ...]) -> None:
    """The advice names the objective that fits: objectives are named after their targets."""
    with torch.device("meta"):
        model = objective(CONFIG)
    (lacking,) = model.target_names() - set(given)
    advice = f"take objective={'_'.join(given)}, or other pairs"
    message = f"needs {lacking} labels, but pairs=X gives {', '.join(given)} only; {advice}$"
    with pytest.raises(ValueError, match=message):
        model.check_targets(given, "pairs=X")


@pytest.mark.parametrize("path", sorted((Path(CONF_DIR) / "objective").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_objective_has_the_name_that_is_typed(path: Path) -> None:
    kind = get_class(OmegaConf.load(path)["_target_"])
    model = kind.__new__(kind)
    Objective.__init__(model)
    assert model.name == path.stem
    model.__class__ = type(f"FSDP{kind.__name__}", (kind,), {"__module__": "torch"})  # as sharding does
    assert model.name == path.stem


def test_an_objective_takes_batches_that_ask_for_more() -> None:
    MaskedLM(CONFIG).check_targets(("mlm", "nsp"), "pairs=X")


def test_a_loss_per_byte_compares_vocabularies() -> None:
    """The sum is that of the loss, divided by the bytes of text that the labels stand for."""
    model, batch = MaskedLM(CONFIG), packed_examples()
    mlm = batch.targets["mlm"]
    assert mlm.num_bytes == 0  # the vocabulary of this batch says nothing of bytes
    counts = model.counts(batch)
    assert counts["mlm_loss_per_byte"] == mlm.num_bytes
    assert counts["mlm_loss"] == mlm.count
    sums = model(batch)
    assert sums["mlm_loss_per_byte"].item() == sums["mlm_loss"].item()
    assert losses(model, batch).keys() == {"mlm_loss"}


def test_a_loss_of_weight_0_adds_nothing_and_reaches_its_parameters() -> None:
    """Whatever it is: the loss and all other gradients are those of the rest."""
    model, batch = MaskedLMWithNSP(CONFIG, nsp_weight=0.0), packed_examples()
    sums = model(batch)
    weighted_loss(model.quantities, sums, dict.fromkeys(sums, 1.0)).backward()
    found = gradients(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert not any(grad.any() for name, grad in found.items() if name.startswith("nsp_head"))
    sums = model(batch)
    sums["mlm_loss"].backward()
    assert all(torch.equal(found[name], grad) for name, grad in gradients(model).items())
    for bad in (torch.nan, torch.inf):
        sums = model(batch)
        loss = weighted_loss(model.quantities, sums | {"nsp_loss": sums["nsp_loss"] + bad}, dict.fromkeys(sums, 1.0))
        assert torch.equal(loss, sums["mlm_loss"])
        loss.backward()
        assert all(torch.equal(found[name], grad) for name, grad in gradients(model).items())


def test_an_objective_without_a_weight_is_refused() -> None:
    MaskedLMWithNSP(CONFIG, mlm_weight=0.0).check_weights()
    with pytest.raises(ValueError, match=r"the weight 0 for all of its losses \(mlm_loss, nsp_loss\); give one"):
        MaskedLMWithNSP(CONFIG, mlm_weight=0.0, nsp_weight=0.0).check_weights()
    with pytest.raises(ValueError, match=r"mlm has mlm_loss with the weight -1\.0, which is below 0"):
        MaskedLM(CONFIG, mlm_weight=-1.0).check_weights()


def test_a_run_without_a_weight_is_refused_before_it_begins(base: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"objective=mlm has the weight 0 for all of its losses \(mlm_loss\)"):
        run_here(base | {"objective": "mlm", "pairs": "full_sentences", "objective.mlm_weight": 0})
    assert not (tmp_path / "runs").exists()
