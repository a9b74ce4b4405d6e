"""Objectives beside each other: which targets they read, which heads they have, and that their labels never mix."""

import pytest
import torch

from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.objective import Objective
from data_pipeline.streams.packing import PackedBatch
from tests.support.parity import CONFIG, losses, packed_examples


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
