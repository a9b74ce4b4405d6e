"""The encoder, heads and losses against transformers' BertForPreTraining: values and every gradient."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bert_lightning.encoder import Encoder, EncoderConfig
from bert_lightning.huggingface import from_huggingface, to_huggingface
from bert_lightning.objectives import MaskedLMWithNSP
from data_pipeline.packing import PackedBatch
from tests.parity import CONFIG, our_model, packed_examples, padded, reference_model

TOLERANCE = 1e-5


def our_losses(model: MaskedLMWithNSP, batch: PackedBatch) -> dict[str, Tensor]:
    """Mean losses, as the trainer makes them."""
    counts = model.counts(batch)
    return {name: total / counts[name] for name, total in model(batch).losses.items()}


def hidden_states(encoder: Encoder, batch: PackedBatch) -> list[Tensor]:
    """The output of the embeddings and of every layer."""
    found: list[Tensor] = []
    hooks = [
        m.register_forward_hook(lambda _m, _a, out: found.append(out)) for m in (encoder.embeddings, *encoder.layers)
    ]
    encoder(batch)
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
    hidden = model.encoder(batch)
    first = hidden[batch.cls_positions[: batch.num_pairs]]
    torch.testing.assert_close(model.nsp_head.pooler(first), pooled, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(model.nsp_head(first), out.seq_relationship_logits, atol=TOLERANCE, rtol=0)
    scores = model.mlm_head(hidden[: batch.num_tokens], model.encoder.embeddings.token.weight)
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


def test_the_error_in_bfloat16_is_that_of_the_reference() -> None:
    """Both against fp32: ours may be at most three times the reference's own."""
    reference, batch = reference_model(), packed_examples()
    model, rows = our_model(reference), padded(batch)
    exact = reference(**vars(rows)).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = hidden = reference.bert(rows.input_ids, rows.attention_mask, rows.token_type_ids).last_hidden_state
        ours = model.encoder(batch)
        our_loss = sum(our_losses(model, batch).values())
        their_loss = reference(**vars(rows)).loss
    hidden = reference.bert(rows.input_ids, rows.attention_mask, rows.token_type_ids).last_hidden_state
    real = rows.attention_mask.bool()
    their_error = (theirs.float() - hidden)[real].abs().max()
    our_error = (ours.float()[: batch.num_tokens] - hidden[real]).abs().max()
    assert our_error <= 3 * their_error
    assert abs(our_loss - exact) <= 3 * max(abs(their_loss - exact), torch.tensor(1e-3))


def test_rows_give_the_same_values_and_gradients_as_the_whole_layer() -> None:
    batch = packed_examples()
    results = []
    for whole in (True, False):
        model = our_model(reference_model()).encoder
        rows = torch.cat([batch.masked_positions, batch.cls_positions]).long()
        hidden = model(batch)[rows] if whole else model(batch, rows)
        hidden.square().sum().backward()
        results.append((hidden.detach(), {name: p.grad for name, p in model.named_parameters()}))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-6, rtol=0)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], atol=1e-4, rtol=1e-5)


def test_packed_equals_one_by_one_and_filler_changes_nothing() -> None:
    model = our_model(reference_model())
    batch = packed_examples(room=8)
    tight = packed_examples(room=6)
    assert len(batch.cu_seqlens) > len(tight.cu_seqlens)
    gradients = []
    for packed in (batch, tight):
        model.zero_grad()
        sum(our_losses(model, packed).values()).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-6, rtol=0)
    changed = batch.input_ids.clone()
    changed[batch.num_tokens :] = 50
    hidden, other = model.encoder(batch), model.encoder(replace(batch, input_ids=changed, buffer=None))
    assert torch.equal(hidden[: batch.num_tokens], other[: batch.num_tokens])


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
    first = encoder(batch)
    assert not torch.equal(first, encoder(batch))
    torch.manual_seed(0)
    assert torch.equal(first, encoder(batch))
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch))


def test_weights_go_there_and_back_unchanged() -> None:
    model = our_model(reference_model())
    back = from_huggingface(to_huggingface(model.state_dict(), CONFIG), CONFIG)
    assert set(back) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back[name])


def test_new_weights_have_the_published_distribution() -> None:
    model = MaskedLMWithNSP(replace(CONFIG, hidden_size=128, intermediate_size=512))
    weight = model.encoder.layers[0].intermediate.weight
    assert abs(weight.std().item() - 0.02) < 4 * 0.02 / (2 * weight.numel()) ** 0.5
    assert (model.encoder.layers[0].intermediate.bias == 0).all()
    assert (model.encoder.embeddings.token.weight[101:] == 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_attention_heads": 5}, "hidden_size=32.*num_attention_heads=5"),
        ({"hidden_act": "swish"}, "hidden_act=swish"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob=1\.0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers=0"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **change)


def test_a_sequence_longer_than_the_positions_is_refused() -> None:
    EncoderConfig(vocab_size=10).check_length(512)
    with pytest.raises(ValueError, match=r"data\.seq_len=513.*max_position_embeddings=512"):
        EncoderConfig(vocab_size=10).check_length(513)
