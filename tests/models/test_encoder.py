"""The encoder, heads and losses against transformers' BertForPreTraining: values and every gradient."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bert_lightning.checkpoints.huggingface import from_huggingface, to_huggingface
from bert_lightning.models.encoder import Encoder
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.parity import (
    CONFIG,
    gradients,
    losses,
    one_by_one,
    our_model,
    packed_examples,
    padded,
    reference_model,
)

TOLERANCE = 1e-5


def our_losses(model: MaskedLMWithNSP, batch: PackedBatch) -> dict[str, Tensor]:
    """Mean losses, as the trainer makes them."""
    counts = model.counts(batch)
    return {name: total / counts[name] for name, total in losses(model, batch).items()}


def hidden_states(encoder: Encoder, batch: PackedBatch) -> list[Tensor]:
    """The output of the embeddings and of every layer."""
    found: list[Tensor] = []
    hooks = [
        m.register_forward_hook(lambda _m, _a, out: found.append(out)) for m in (encoder.embeddings, *encoder.layers)
    ]
    encoder(batch.tokens)
    for hook in hooks:
        hook.remove()
    return found


def test_hidden_states_of_every_layer_equal_the_reference() -> None:
    reference, batch = reference_model().eval(), packed_examples()
    rows = padded(batch)
    theirs = reference.bert(rows.input_ids, rows.attention_mask, rows.token_type_ids, output_hidden_states=True)
    ours = hidden_states(our_model(reference).eval().encoder, batch)
    assert len(ours) == len(theirs.hidden_states) == CONFIG.num_hidden_layers + 1
    for own, other in zip(ours, theirs.hidden_states, strict=True):
        torch.testing.assert_close(own[: batch.num_tokens], other[rows.attention_mask.bool()], atol=TOLERANCE, rtol=0)


def test_pooled_output_and_scores_equal_the_reference() -> None:
    reference, batch = reference_model().eval(), packed_examples()
    model, rows = our_model(reference).eval(), padded(batch)
    out = reference(rows.input_ids, rows.attention_mask, rows.token_type_ids)
    pooled = reference.bert(rows.input_ids, rows.attention_mask, rows.token_type_ids).pooler_output
    hidden = model.encoder(batch.tokens)
    first = hidden[batch.targets["nsp"].positions[: batch.num_examples]]
    torch.testing.assert_close(model.nsp_head.pooler(first), pooled, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(model.nsp_head.scores(first), out.seq_relationship_logits, atol=TOLERANCE, rtol=0)
    scores = model.mlm_head.scores(hidden[: batch.num_tokens], model.encoder.embeddings.token.weight)
    assert scores.shape[1] == 128
    assert (scores[:, 101:] == -torch.inf).all()
    torch.testing.assert_close(
        scores[:, :101], out.prediction_logits[rows.attention_mask.bool()], atol=TOLERANCE, rtol=0
    )


def test_losses_and_every_gradient_equal_the_reference() -> None:
    reference, batch = reference_model(), packed_examples()
    model, rows = our_model(reference), padded(batch)
    out = reference(**vars(rows))
    out.loss.backward()
    losses = our_losses(model, batch)
    torch.testing.assert_close(sum(losses.values()), out.loss, atol=TOLERANCE, rtol=0)
    sum(losses.values()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    theirs = from_huggingface({name: p.grad for name, p in reference.named_parameters()}, CONFIG)
    assert set(gradients) == set(theirs)
    for name, gradient in theirs.items():
        assert gradients[name] is not None, name
        torch.testing.assert_close(gradients[name], gradient, atol=TOLERANCE, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_each_loss_equals_the_reference() -> None:
    reference, batch = reference_model(), packed_examples()
    rows = padded(batch)
    out = reference(rows.input_ids, rows.attention_mask, rows.token_type_ids)
    losses = our_losses(our_model(reference), batch)
    mlm = torch.nn.functional.cross_entropy(out.prediction_logits.flatten(0, 1), rows.labels.flatten())
    nsp = torch.nn.functional.cross_entropy(out.seq_relationship_logits, rows.next_sentence_label)
    torch.testing.assert_close(losses["mlm_loss"], mlm, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(losses["nsp_loss"], nsp, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_the_error_in_bfloat16_is_at_most_three_times_that_of_the_reference(seed: int) -> None:
    """Both against fp32: hidden states, and the gradients of the joint loss taken together."""
    reference, batch = reference_model(), packed_examples(seed)
    model, rows = our_model(reference), padded(batch)
    real = rows.attention_mask.bool()

    def theirs() -> tuple[Tensor, Tensor]:
        out = reference(**vars(rows), output_hidden_states=True)
        out.loss.backward()
        found = from_huggingface(gradients(reference), CONFIG)
        return out.hidden_states[-1][real].float(), flat(found)

    def ours() -> tuple[Tensor, Tensor]:
        hidden = model.encoder(batch.tokens)[: batch.num_tokens].float()
        sum(our_losses(model, batch).values()).backward()
        return hidden, flat(gradients(model))

    def flat(tensors: dict[str, Tensor]) -> Tensor:
        return torch.cat([tensors[name].flatten() for name in sorted(tensors)])

    exact = theirs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        their_bf16, our_bf16 = theirs(), ours()
    for own, other, expected in zip(our_bf16, their_bf16, exact, strict=True):
        assert (other - expected).norm() > 0
        assert (own - expected).norm() <= 3 * (other - expected).norm()


def test_rows_give_the_same_values_and_gradients_as_the_whole_layer() -> None:
    batch = packed_examples()
    results = []
    for whole in (True, False):
        model = our_model(reference_model()).encoder
        rows = torch.cat([batch.targets["mlm"].positions, batch.targets["nsp"].positions]).long()
        hidden = model(batch.tokens)[rows] if whole else model(batch.tokens, rows)
        hidden.square().sum().backward()
        results.append((hidden.detach(), {name: p.grad for name, p in model.named_parameters()}))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-6, rtol=0)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], atol=1e-4, rtol=1e-5)


def test_packed_equals_one_by_one() -> None:
    """Sums over a packed batch are the sums over its examples, each alone in a batch without filler."""
    model, batch = our_model(reference_model()), packed_examples()
    singles = one_by_one(batch)
    assert sum(single.targets["mlm"].count for single in singles) == batch.targets["mlm"].count
    hidden = torch.cat([model.encoder(single.tokens) for single in singles])
    torch.testing.assert_close(model.encoder(batch.tokens)[: batch.num_tokens], hidden, atol=TOLERANCE, rtol=0)
    totals = []
    for batches in ([batch], singles):
        loss = sum(sum(losses(model, one).values()) for one in batches)
        loss.backward()
        totals.append({"loss": loss.detach()} | gradients(model))
    assert totals[0].keys() == totals[1].keys()
    for name, total in totals[0].items():
        torch.testing.assert_close(total, totals[1][name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_filler_changes_nothing() -> None:
    """Neither how much of it there is nor what it says changes a value or a gradient."""
    model, batch, longer = our_model(reference_model()), packed_examples(room=8), packed_examples(room=200)
    assert len(longer.tokens.input_ids) > len(batch.tokens.input_ids) > batch.num_tokens
    assert len(batch.targets["mlm"].positions) > batch.targets["mlm"].count
    assert len(batch.targets["nsp"].positions) > batch.num_examples
    filler = slice(batch.num_tokens, None)
    changed = batch.to("cpu")
    changed.tokens.input_ids[filler], changed.tokens.token_type_ids[filler] = 50, 1
    changed.targets["mlm"].positions[batch.targets["mlm"].count :] = len(batch.tokens.input_ids) - 1
    results = []
    for packed in (batch, longer, changed):
        means = our_losses(model, packed)
        sum(means.values()).backward()
        hidden = model.encoder(packed.tokens)[: packed.num_tokens].detach()
        results.append({"hidden": hidden} | means | gradients(model))
    for other in results[1:]:
        for name, value in results[0].items():
            torch.testing.assert_close(value, other[name], atol=1e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_padded_vocabulary_gets_no_gradient_and_no_prediction() -> None:
    model, batch = our_model(reference_model()), packed_examples()
    sum(our_losses(model, batch).values()).backward()
    table = model.encoder.embeddings.token.weight
    assert table.shape == (128, 32)
    assert table.grad is not None
    assert (table.grad[101:] == 0).all()


def test_dropout_is_on_in_training_only_and_follows_the_seed() -> None:
    config = replace(CONFIG, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
    encoder, batch = Encoder(config), packed_examples()
    torch.manual_seed(0)
    first = encoder(batch.tokens)
    assert not torch.equal(first, encoder(batch.tokens))
    torch.manual_seed(0)
    assert torch.equal(first, encoder(batch.tokens))
    encoder.eval()
    assert torch.equal(encoder(batch.tokens), encoder(batch.tokens))


def test_weights_go_there_and_back_unchanged() -> None:
    model = our_model(reference_model())
    back = from_huggingface(to_huggingface(model.state_dict(), CONFIG), CONFIG)
    assert set(back) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back[name])


def test_new_weights_have_the_published_distribution() -> None:
    torch.manual_seed(0)
    model = MaskedLMWithNSP(replace(CONFIG, hidden_size=128, intermediate_size=512))
    table = model.encoder.embeddings.token.weight
    for name, parameter in model.named_parameters():
        kept = parameter[1:101] if parameter is table else parameter  # without [PAD] and the padding of the vocabulary
        if name.endswith("norm.weight"):
            assert (kept == 1).all(), name
        elif name.endswith("bias"):
            assert (kept == 0).all(), name
        else:
            assert abs(kept.std().item() - 0.02) < 5 * 0.02 / (2 * kept.numel()) ** 0.5, name
            assert abs(kept.mean().item()) < 5 * 0.02 / kept.numel() ** 0.5, name
    assert (table[101:] == 0).all()
    assert (table[0] == 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_attention_heads": 5}, "hidden_size=32.*num_attention_heads=5"),
        ({"hidden_act": "swish"}, "hidden_act must be one of .*; got swish"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob=1\.0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number, at least 1; got 0"),
        ({"num_attention_heads": 0}, "num_attention_heads must be a whole number, at least 1; got 0"),
        ({"hidden_size": 0}, "hidden_size must be a whole number, at least 1; got 0"),
        ({"vocab_size": None}, "vocab_size=null"),
        ({"pad_token_id": 101}, "pad_token_id=101.*vocab_size=101"),
        ({"initializer_range": -0.02}, r"initializer_range=-0\.02"),
        ({"initialization": "xavier"}, "model.initialization must be one of bert, neighbors, .*; got xavier"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **change)
