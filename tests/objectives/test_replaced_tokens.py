"""ELECTRA's objective against transformers' two classes and the rules of google-research/electra."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.nn import functional as F
from transformers import ElectraForMaskedLM, ElectraForPreTraining

from bert_lightning.checkpoints.electra_halves import discriminator_half, generator_half
from bert_lightning.checkpoints.huggingface import from_huggingface, write_folder
from bert_lightning.checkpoints.huggingface.electra import ELECTRA
from bert_lightning.checkpoints.tensor_checks import HEADS, check_state
from bert_lightning.models.attention import PackedAttention, choose_attention, flash_attention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.generator import draw_tokens, generator_config, keyed_uniform
from bert_lightning.models.looped_attention import looped_attention
from bert_lightning.objectives.objective import weighted_loss
from bert_lightning.objectives.replaced_tokens import ReplacedTokens, filled_in
from bert_lightning.pretrain import build_module
from bert_lightning.settings.run_plan import plan_run
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.parity import CONFIG, gradients, one_by_one, packed_examples, padded, random_weights
from tests.support.runs import compose_here
from tests.support.settings import Settings

SMALL = replace(CONFIG, embedding_size=16)


def electra(config: EncoderConfig = SMALL, generator_size: float = 0.5) -> ReplacedTokens:
    return random_weights(ReplacedTokens(config, generator_size=generator_size))  # type: ignore[return-value]


def loss_of(model: ReplacedTokens, batch: PackedBatch) -> Tensor:
    counts = model.counts(batch)
    return weighted_loss(model.quantities, model(batch), {name: 1 / max(counts[name], 1) for name in counts})


def rows_of(batch: PackedBatch, values: Tensor) -> Tensor:
    """Values of packed tokens in padded rows."""
    mask = padded(batch).attention_mask.bool()
    rows = torch.zeros(mask.shape, dtype=values.dtype)
    rows[mask] = values[: batch.num_tokens]
    return rows


@pytest.mark.parametrize("config", [SMALL, CONFIG], ids=["small embeddings", "embeddings as wide as the layers"])
def test_losses_and_gradients_of_both_halves_are_those_of_transformers(config: EncoderConfig, tmp_path: Path) -> None:
    ours, batch = electra(config), packed_examples()
    state = ours.state_dict()
    check_state(state, config, "x.ckpt")
    half = generator_half(state, config)
    assert half is not None
    for folder, kind, sizes, tensors in (
        ("d", ElectraForPreTraining, config, discriminator_half(state)),
        ("g", ElectraForMaskedLM, *half),
    ):
        (tmp_path / folder).mkdir()
        write_folder(tmp_path / folder, sizes, tensors, {}, family=ELECTRA)
        _, info = kind.from_pretrained(tmp_path / folder, output_loading_info=True)
        assert [info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys")] == [set()] * 3
    discriminator = ElectraForPreTraining.from_pretrained(tmp_path / "d").eval()
    generator = ElectraForMaskedLM.from_pretrained(tmp_path / "g").eval()
    rows, mlm = padded(batch), batch.targets["mlm"]
    found = generator(rows.input_ids, rows.attention_mask, rows.token_type_ids, labels=rows.labels)
    scores = found.logits.detach()[rows.labels != -100]
    uniform = keyed_uniform(batch.tokens, mlm.positions)[: mlm.count]
    drawn = draw_tokens(scores, uniform, config.vocab_size)
    ids, original = rows.input_ids.clone(), rows.input_ids.clone()
    ids[rows.labels != -100] = drawn
    original[rows.labels != -100] = rows.labels[rows.labels != -100]
    is_replaced = (ids != original).long()
    said = discriminator(ids, rows.attention_mask, rows.token_type_ids, labels=is_replaced)
    expected = found.loss + 50 * said.loss
    loss = loss_of(ours, batch)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-6)
    sums = ours(batch)
    assert sums["replaced_share"] == is_replaced.sum()
    right = ((said.logits > 0) == is_replaced.bool())[rows.attention_mask.bool()]
    assert sums["replaced_accuracy"] == right.sum()

    expected.backward()
    loss.backward()
    given = [{name: p.grad for name, p in model.named_parameters()} for model in (discriminator, generator)]
    for model in given:
        model.update({name: torch.zeros(1) for name, grad in model.items() if grad is None})
    of_discriminator = from_huggingface(given[0], config, HEADS, family=ELECTRA)
    of_generator = from_huggingface(given[1], half[0], HEADS, family=ELECTRA)
    for name, parameter in ours.named_parameters():
        theirs = name.replace("generator.", "encoder.", 1).replace("generator_head.", "mlm_head.", 1)
        wanted = of_discriminator[name] if not name.startswith("generator") else of_generator[theirs]
        if name.startswith("encoder.embeddings.") and "projection" not in name:
            wanted = wanted + of_generator[name]
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, wanted, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_a_worked_example_of_the_rules() -> None:
    """Sequence [CLS] 10 M 12 13 [SEP] with tokens 11 and 13 chosen; the generator says 20 and 13: only 20 is new."""
    batch = packed_examples(room=6)
    tokens = replace(
        batch.tokens,
        input_ids=torch.tensor([2, 10, 4, 12, 13, 3, 0, 0], dtype=torch.int32),
        cu_seqlens=torch.tensor([0, 6, 8], dtype=torch.int32),
    )
    positions = torch.tensor([2, 4, 0, 0], dtype=torch.int32)
    labels = torch.tensor([11, 13, -100, -100], dtype=torch.int32)
    seen, is_replaced = filled_in(tokens, positions, labels, torch.tensor([20, 13, 99, 98]))
    assert seen.input_ids.tolist() == [2, 10, 20, 12, 13, 3, 0, 0]
    assert is_replaced.tolist() == [False, False, True, False, False, False, False, False]
    assert tokens.input_ids.tolist() == [2, 10, 4, 12, 13, 3, 0, 0]


def test_the_halves_train_each_other_through_the_embeddings_alone() -> None:
    model, batch = electra(), packed_examples()
    model(batch)["replaced_loss"].backward()
    of_discriminator = gradients(model)
    model(batch)["mlm_loss"].backward()
    of_generator = gradients(model)
    assert {name.partition(".")[0] for name in of_discriminator} == {"encoder", "rtd_head"}
    outside = {name for name in of_generator if not name.startswith(("generator", "encoder.embeddings."))}
    assert outside == set()
    assert "encoder.embeddings.token.weight" in of_generator


def test_the_embeddings_are_there_once() -> None:
    model = electra()
    names = [name for name, _ in model.named_parameters()]
    assert [name for name in names if "token" in name] == ["encoder.embeddings.token.weight"]
    assert [name for name in model.state_dict() if name.startswith("generator.embeddings")] == [
        name for name in names if name.startswith("generator.embeddings.projection")
    ]


def test_drawn_tokens_have_the_distribution_of_the_scores() -> None:
    torch.manual_seed(0)
    scores = torch.cat([torch.randn(7) * 2, torch.full((3,), -torch.inf)])
    grid = (torch.arange(10_000) + 0.5) / 10_000
    drawn = draw_tokens(scores.expand(len(grid), -1), grid, 7)
    shares = torch.bincount(drawn, minlength=10) / len(grid)
    torch.testing.assert_close(shares, scores.softmax(-1), atol=2e-4, rtol=0)


def test_noise_is_decided_by_the_example_not_by_its_batch() -> None:
    batch = packed_examples()
    mlm = batch.targets["mlm"]
    together = keyed_uniform(batch.tokens, mlm.positions[: mlm.count])
    alone = torch.cat([keyed_uniform(each.tokens, each.targets["mlm"].positions) for each in one_by_one(batch)])
    assert torch.equal(together, alone)
    batch.tokens.input_ids[1] += 1
    changed = keyed_uniform(batch.tokens, mlm.positions[: mlm.count]) != together
    first = mlm.positions[: mlm.count] < batch.tokens.cu_seqlens[1]
    assert torch.equal(changed, first)


def test_noise_is_uniform() -> None:
    found = torch.cat([keyed_uniform(b.tokens, torch.arange(b.num_tokens)) for b in map(packed_examples, range(40))])
    assert found.min() >= 0
    assert found.max() < 1
    assert F.l1_loss(found.sort().values, torch.linspace(0, 1, len(found))) < 2 / len(found) ** 0.5
    assert found.unique().numel() > 0.99 * len(found)


@pytest.mark.parametrize(
    ("change", "size", "said"),
    [
        ({}, 0.0, r"objective.generator_size must be in \(0, 1\]; got 0.0"),
        ({}, 2.0, r"objective.generator_size must be in \(0, 1\]; got 2.0"),
        ({}, 0.9, "generator of hidden_size=29 with num_attention_heads=3, of which it is no multiple"),
        ({"is_causal": True}, 0.25, "is_causal=true sees nothing after a mask"),
    ],
    ids=str,
)
def test_impossible_generators_are_refused(change: dict[str, object], size: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ReplacedTokens(replace(SMALL, **change), generator_size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0.125, 0.25, 0.5, 0.75, 1.0])
def test_the_generator_has_the_attention_of_its_own_heads(size: float) -> None:
    """These are the sizes of the ablation; kernels take some head dimensions only."""
    config = replace(CONFIG, hidden_size=768, num_attention_heads=12, num_hidden_layers=1)
    with torch.device("meta"):
        model = ReplacedTokens(config, flash_attention, attention_on_gpu, generator_size=size)
    narrow = model.generator.config
    assert narrow.head_dim == (96 if size == 0.125 else config.head_dim)
    assert model.generator.layers[0].attention.attention is attention_on_gpu(narrow)
    assert model.encoder.layers[0].attention.attention is flash_attention


def attention_on_gpu(config: EncoderConfig) -> PackedAttention:
    return choose_attention("cuda", 0.0, True, config.head_dim)


def test_a_run_chooses_both_attentions(base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[EncoderConfig] = []
    monkeypatch.setattr("bert_lightning.pretrain._attention", lambda _, model: seen.append(model) or looped_attention)
    settings = base | {"objective": "replaced_tokens", "pairs": "full_sentences", "masking": "electra"}
    plan = plan_run(compose_here("pretrain", settings | {"objective.generator_size": 0.5}), False)
    objective = build_module(plan, SingleDeviceStrategy(), is_resumed=False).objective
    assert seen == [each.config for each in objective.encoders().values()]


def test_a_generator_shrinks_in_width_alone() -> None:
    narrow = generator_config(replace(SMALL, hidden_size=64), 16)
    assert (narrow.hidden_size, narrow.num_attention_heads, narrow.intermediate_size) == (16, 1, 16)
    assert (narrow.num_hidden_layers, narrow.embedding_width) == (3, 16)
