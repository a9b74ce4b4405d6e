"""Sums of losses and right answers, and that nothing waits for the device to make them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.objective import weighted_loss
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.parity import CONFIG, gradients, losses, our_model, packed_examples, reference_model


@pytest.fixture
def model() -> MaskedLMWithNSP:
    return our_model(reference_model())


def by_hand(model: MaskedLMWithNSP, batch: PackedBatch) -> dict[str, Tensor]:
    """The same sums from the scores of all tokens, with indexing by hand."""
    hidden = model.encoder(batch.tokens)
    scores = model.mlm_head.scores(hidden, model.encoder.embeddings.token.weight).log_softmax(-1)
    pair_scores = model.nsp_head.scores(hidden).log_softmax(-1)
    sums = dict.fromkeys(("mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy"), torch.tensor(0.0))
    sums["random_next"] = (batch.targets["nsp"].labels == 1).sum()
    for kind, table in (("mlm", scores), ("nsp", pair_scores)):
        target = batch.targets[kind]
        for position, label in zip(target.positions.tolist(), target.labels.tolist(), strict=True):
            if label != NO_LABEL:
                sums[f"{kind}_loss"] = sums[f"{kind}_loss"] - table[position, label]
                sums[f"{kind}_accuracy"] = sums[f"{kind}_accuracy"] + (table[position].argmax() == label)
    return sums | {"mlm_loss_per_byte": sums["mlm_loss"].detach()}


def test_sums_are_those_of_all_predictions_and_of_nothing_else(model: MaskedLMWithNSP) -> None:
    batch = packed_examples()
    with torch.no_grad():  # so that the model is right a few times
        model.mlm_head.bias[batch.targets["mlm"].labels[:4].long()] += 5
    output, expected = model(batch), by_hand(model, batch)
    assert output.keys() == expected.keys() == model.counts(batch).keys() == model.quantities.keys()
    assert expected["mlm_accuracy"] > 0
    for name, value in expected.items():
        torch.testing.assert_close(output[name].float(), value.float(), atol=1e-4, rtol=1e-5, msg=name)
        assert output[name].shape == ()
        assert output[name].requires_grad == name.endswith("loss")


def test_counts_are_of_labelled_predictions(model: MaskedLMWithNSP) -> None:
    batch = packed_examples()
    counts, mlm, nsp = model.counts(batch), batch.targets["mlm"], batch.targets["nsp"]
    assert counts["mlm_loss"] == counts["mlm_accuracy"] == (mlm.labels != NO_LABEL).sum()
    assert counts["nsp_loss"] == counts["nsp_accuracy"] == (nsp.labels != NO_LABEL).sum()
    assert all(type(count) is int for count in counts.values())


def test_a_batch_without_labels_costs_nothing_and_teaches_nothing(model: MaskedLMWithNSP) -> None:
    """A rank whose share of a global batch is filler alone takes part in the step."""
    empty = packed_examples()
    for target in empty.targets.values():
        target.labels.fill_(NO_LABEL)
    output = model(empty)
    assert all(value == 0 for value in output.values())
    sum(losses(model, empty).values()).backward()
    found = gradients(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert all((gradient == 0).all() for gradient in found.values())


def test_losses_are_in_fp32_whatever_the_model_computes_in(model: MaskedLMWithNSP) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = model(packed_examples())
    for output in (autocast, model.bfloat16()(packed_examples())):
        assert {output[name].dtype for name in ("mlm_loss", "nsp_loss")} == {torch.float32}


def test_weights_are_those_of_the_loss_that_is_minimized() -> None:
    model, batch = MaskedLMWithNSP(CONFIG, mlm_weight=0.5, nsp_weight=2.0), packed_examples()
    sums, scales = model(batch), {name: 1 / max(1, count) for name, count in model.counts(batch).items()}
    mlm, nsp = (sums[f"{kind}_loss"] / batch.targets[kind].count for kind in ("mlm", "nsp"))
    torch.testing.assert_close(weighted_loss(model.quantities, sums, scales), 0.5 * mlm + 2.0 * nsp)


def test_nothing_reads_a_value_from_the_device() -> None:
    """Tensors on the meta device have no values: .item(), nonzero and boolean indexing would raise."""

    def attention(qkv: Tensor, cu_seqlens: Tensor, longest: int, dropout_p: float) -> Tensor:
        return F.dropout(qkv.prod(1), dropout_p)

    with torch.device("meta"):
        model = MaskedLMWithNSP(replace(CONFIG, hidden_dropout_prob=0.1), attention)
    batch = packed_examples().to("meta")
    assert batch.tokens.input_ids.is_meta
    sum(losses(model, batch).values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_fp32_training_repeats_to_the_last_bit_on_two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, second = (weights_after_training() for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(first[name], second[name]) for name in first)


def weights_after_training() -> dict[str, Tensor]:
    """Four steps with dropout on two batches."""
    torch.manual_seed(0)
    model = MaskedLMWithNSP(replace(CONFIG, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    for step in range(4):
        torch.stack(list(losses(model, packed_examples(step % 2)).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()
