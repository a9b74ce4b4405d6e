"""ERNIE's objective: closed forms of its loss, the rates of its noise, and what it must not depend on."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.checkpoints.tensor_checks import check_state
from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.sharding import recompute_activations
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.knowledge.entity_head import Choices, EntityHead
from bert_lightning.models.knowledge.entity_noise import EntityNoise
from bert_lightning.models.knowledge.entity_vectors import EntityVectors
from bert_lightning.objectives.entity_denoising import EntityDenoising
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.objective import weighted_loss
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import ENTITIES, PackedBatch, Targets
from tests.support.compiled import TRACED
from tests.support.parity import CONFIG, gradients, one_by_one, packed_examples, random_weights

TABLE = np.random.default_rng(3).normal(size=(50, 12)).astype(np.float32)
MENTIONS = [(1, 7), (5, 2), (8, 7), (12, 30), (26, 2), (30, 9), (41, 9), (50, 4), (70, 11), (130, 0)]
"""First token and entity: examples 0 and 2 mention an entity twice."""


def with_mentions(batch: PackedBatch, mentions: list[tuple[int, int]] = MENTIONS, filler: int = 3) -> PackedBatch:
    rows = [*mentions, *[(0, NO_LABEL)] * filler]
    positions, labels = torch.tensor(rows, dtype=torch.int32).reshape(-1, 2).T.contiguous()
    return replace(batch, targets=batch.targets | {ENTITIES: Targets(positions, labels, len(mentions))}, buffer=None)


def objective(config: EncoderConfig = CONFIG, **changes: Any) -> EntityDenoising:
    """With random weights; half of the mentions are noised, so that there is some of each kind."""
    options = {"replaced_prob": 0.25, "hidden_prob": 0.25, "entity_heads": 3} | changes
    made = EntityDenoising(config, EntityVectors(TABLE, "f00"), **options)
    return random_weights(made)  # type: ignore[return-value]


def loss_of(model: EntityDenoising, batch: PackedBatch) -> Tensor:
    counts = model.counts(batch)
    return weighted_loss(model.quantities, model(batch), {name: 1 / max(counts[name], 1) for name in counts})


def test_the_loss_has_its_closed_form() -> None:
    """-log softmax(linear(w) . e) over the entities of the example, each once, mention by mention."""
    batch = with_mentions(packed_examples())
    target, hidden = batch.targets[ENTITIES], torch.randn(13, CONFIG.hidden_size)
    head = random_weights(EntityHead(CONFIG, 12))
    ends = batch.tokens.cu_seqlens.tolist()
    example = [sum(at >= end for end in ends[1:]) for at, _ in MENTIONS]
    expected, right, chance = 0.0, [], 0.0
    for row, (_, entity) in enumerate(MENTIONS):
        candidates = sorted(
            {other for (_, other), where in zip(MENTIONS, example, strict=True) if where == example[row]}
        )
        scores = torch.tensor(TABLE[candidates]) @ head.projection(hidden[row]).detach()
        expected -= float(scores.log_softmax(0)[candidates.index(entity)])
        right.append(candidates[int(scores.argmax())] == entity)
        chance += 1 / len(candidates)
    assert chance < len(MENTIONS) - 2
    is_asked = target.labels != NO_LABEL
    is_same = torch.eye(13, dtype=torch.bool)
    is_same[:10, :10] = torch.tensor(example)[:, None] == torch.tensor(example)
    choices = Choices.of(is_same, target.labels.clamp(min=0), is_asked)
    loss, is_found = head(hidden, torch.tensor(TABLE)[target.labels.clamp(min=0).long()], choices)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert is_found.tolist() == right + [False] * 3
    assert float(choices.chance()) == pytest.approx(chance)


def test_a_tie_is_no_right_answer() -> None:
    choices = Choices.of(torch.ones(2, 2, dtype=torch.bool), torch.tensor([0, 1]), torch.tensor([True, True]))
    head = EntityHead(CONFIG, 12)
    loss, is_found = head(torch.randn(2, CONFIG.hidden_size), torch.ones(2, 12), choices)
    assert loss.item() == pytest.approx(2 * np.log(2), rel=1e-6)
    assert not is_found.any()


def test_rates_of_noise() -> None:
    """5% of the mentions get any other entity, 15% none, the others theirs, over many examples."""
    noise, kinds, given_entities, differences = EntityNoise(50, 0.05, 0.15), [], [], []
    for seed in range(150):
        batch = packed_examples(seed)
        every = torch.arange(batch.num_tokens, dtype=torch.int32)
        target = Targets(every, every % 50, len(every))
        given = noise(batch.tokens, target)
        is_other = given.is_shown & (given.entities != target.labels)
        assert torch.equal(given.is_noised, is_other | ~given.is_shown)
        kinds.append(torch.stack([is_other, ~given.is_shown]).float())
        given_entities.append(given.entities[is_other])
        differences.append((given.entities - target.labels)[is_other] % 50)
    shares = torch.cat(kinds, 1)
    count = shares.shape[1]
    for share, expected in zip(shares.mean(1).tolist(), (0.05, 0.15), strict=True):
        assert abs(share - expected) < 4 * (expected * (1 - expected) / count) ** 0.5
    assert chi_squared(torch.bincount(torch.cat(given_entities), minlength=50)) < 100  # 49 degrees of freedom
    found = torch.bincount(torch.cat(differences), minlength=50)
    assert found[0] == 0
    assert chi_squared(found[1:]) < 100


def chi_squared(counts: Tensor) -> float:
    """How far counts are from equal ones."""
    mean = counts.float().mean()
    return float((counts - mean).square().sum() / mean)


@pytest.mark.parametrize("probabilities", [(1.0, 0.0), (0.0, 1.0)], ids=["replaced", "hidden"])
def test_filler_is_neither_shown_nor_noised(probabilities: tuple[float, float]) -> None:
    batch = with_mentions(packed_examples())
    given = EntityNoise(50, *probabilities)(batch.tokens, batch.targets[ENTITIES])
    assert not given.is_shown[-3:].any()
    assert not given.is_noised[-3:].any()
    assert given.is_noised[:-3].all()
    assert given.is_shown[:-3].all() == (probabilities[0] == 1.0)


def test_sums_and_gradients_are_those_of_one_example_at_a_time() -> None:
    """Noise and candidates too: nothing depends on what else is in the batch."""
    batch, model = packed_examples(), objective()
    sums = model(with_mentions(batch))
    names = [name for name, quantity in model.quantities.items() if quantity.loss_weight]
    sum(sums[name] for name in names).backward()  # type: ignore[union-attr]
    found, alone = gradients(model), []
    ends = batch.tokens.cu_seqlens.tolist()
    for row, single in enumerate(one_by_one(batch)):
        begin, end = ends[row : row + 2]
        own = [(at - begin, entity) for at, entity in MENTIONS if begin <= at < end]
        alone.append(model(with_mentions(single, own, filler=1)))
        sum(alone[-1][name] for name in names).backward()
    expected = gradients(model)
    for name, value in sums.items():
        torch.testing.assert_close(value.float(), sum(each[name].float() for each in alone), atol=1e-3, rtol=1e-5)
    assert 0 < sums["noised_share"] < len(MENTIONS)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=2e-3, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("filler", [0, 4])
def test_a_batch_without_mentions_has_no_sums_of_entities(filler: int) -> None:
    """Its other sums are those of masked tokens and pairs alone, and every weight has a gradient."""
    batch, model = with_mentions(packed_examples(), [], filler), objective()
    plain = MaskedLMWithNSP(CONFIG).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    sums, expected = model(batch), plain(batch)
    for name in model.quantities:
        torch.testing.assert_close(sums[name].float(), expected.get(name, torch.tensor(0.0)).float())
    assert model.counts(batch)["entity_loss"] == 0
    loss_of(model, batch).backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())


def test_gradients_reach_every_weight_and_never_the_table() -> None:
    model, batch = objective(), with_mentions(packed_examples())
    (table,) = model.frozen()
    before = table.vectors.clone()  # type: ignore[union-attr]
    loss_of(model, batch).backward()
    assert all(each.grad is not None and each.grad.any() for each in model.parameters())
    assert not table.vectors.requires_grad  # type: ignore[union-attr]
    assert torch.equal(table.vectors, before)  # type: ignore[arg-type]
    assert not [name for name in model.state_dict() if "vectors" in name]
    assert model.external_inputs() == {"entity vectors": "entity vectors of sha256 f00"}


def test_nothing_reads_a_value_from_the_device() -> None:
    """Tensors on the meta device have no values: .item(), nonzero and boolean indexing would raise."""

    def attention(qkv: Tensor, cu_seqlens: Tensor, longest: int, dropout_p: float) -> Tensor:
        return F.dropout(qkv.prod(1), dropout_p)

    entities = EntityVectors(TABLE, "f00").to("meta")
    with torch.device("meta"):
        model = EntityDenoising(replace(CONFIG, hidden_dropout_prob=0.1), entities, attention)
    loss_of(model, with_mentions(packed_examples()).to("meta")).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_recomputed_layers_have_the_same_gradients() -> None:
    kept, recomputed = objective(), objective()
    recompute_activations(recomputed)
    for model in (kept, recomputed):
        loss_of(model, with_mentions(packed_examples())).backward()
    expected = gradients(kept)
    for name, gradient in gradients(recomputed).items():
        torch.testing.assert_close(gradient, expected[name], msg=lambda m, n=name: f"{n}: {m}")


def test_operations_are_those_of_masked_tokens_and_of_mentions() -> None:
    model, counts = objective(fusion_layers=[2]), {"mlm": 500.0, ENTITIES: 100.0}
    plain = MaskedLMWithNSP(CONFIG).useful_flops(1000, 100_000, counts)
    side = [each for name, each in model.named_parameters() if ".entity." in name or "entity_head" in name]
    matrices = sum(each.numel() for each in side if each.ndim == 2)
    assert model.useful_flops(1000, 100_000, counts) - plain == 6 * 100 * matrices


@pytest.mark.parametrize("pair_target", ["nsp", "sop", None])
def test_pairs_give_the_head(pair_target: str | None) -> None:
    model, batch = objective(pair_target=pair_target), with_mentions(packed_examples())
    targets = {(pair_target or "nsp") if name == "nsp" else name: each for name, each in batch.targets.items()}
    sums = model(replace(batch, targets=targets, buffer=None))
    assert set(sums) == set(model.quantities)
    assert model.target_names() == {"mlm", ENTITIES} | ({pair_target} if pair_target else set())
    assert [name for name in sums if name.endswith("sop_loss" if pair_target == "sop" else "nsp_loss")] == (
        [f"{pair_target}_loss"] if pair_target else []
    )


def test_a_checkpoint_with_other_tensors_of_entities_is_refused_by_name() -> None:
    state = objective().state_dict()
    check_state(state, CONFIG, "x.ckpt")
    side = "encoder.layers.1.entity."
    changes: list[tuple[dict[str, Tensor], str]] = [
        ({f"{side}qkv.weight": torch.zeros(3, 3)}, rf"{side}qkv.weight is \(3, 3\), .* says \(36, 12\)"),
        ({f"{side}other": torch.zeros(3)}, rf"x.ckpt has {side}other, which the objective does not have"),
        ({"encoder.layers.9.entity.qkv.bias": torch.zeros(36)}, r"x.ckpt has encoder.layers.9.entity.qkv.bias, which"),
        ({"entity_head.projection.bias": torch.zeros(8)}, r"\(36, 12\), the configuration in x.ckpt says \(24, 8\)"),
    ]
    for change, said in changes:
        with pytest.raises(ValueError, match=said):
            check_state(state | change, CONFIG, "x.ckpt")
    del state[f"{side}qkv.bias"]
    with pytest.raises(ValueError, match=rf"x.ckpt lacks {side}qkv.bias"):
        check_state(state, CONFIG, "x.ckpt")


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("scope", ["layers", "model"])
def test_compiled_equals_eager(scope: str) -> None:
    """Batches with another number of mentions share the graphs."""
    from torch._dynamo.utils import counters

    config = replace(CONFIG, num_hidden_layers=2)
    eager, compiled = (objective(config=config, fusion_layers=[1, 2]) for _ in range(2))
    Compilation(scope, **TRACED)(compiled, "cpu")
    graphs = []
    for seed, count in enumerate([10, 7, 4]):
        batch = with_mentions(packed_examples(seed), MENTIONS[:count])
        loss, expected = loss_of(compiled, batch), loss_of(eager, batch)
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-6)
        for model in (loss, expected):
            model.backward()
        found, wanted = gradients(compiled), gradients(eager)
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs == graphs[:1] * 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fusion_layers": [0, 1]}, r"fusion_layers must be null, or different numbers from 1 to .*=3; got \[0, 1\]"),
        ({"fusion_layers": [2, 2]}, r"fusion_layers must be null, or different numbers from 1 to"),
        ({"fusion_layers": []}, r"fusion_layers must be null, or different numbers from 1 to"),
        ({"entity_heads": 5}, r"size 12 cannot be cut into objective\.entity_heads=5"),
        ({"entity_heads": 0}, r"size 12 cannot be cut into objective\.entity_heads=0"),
        ({"replaced_prob": -0.1}, r"objective\.replaced_prob must be from 0 to 1; got -0\.1"),
        ({"replaced_prob": 0.6, "hidden_prob": 0.6}, r"replaced_prob=0\.6 and objective\.hidden_prob=0\.6 must be at"),
        ({"pair_target": "next"}, r"objective\.pair_target must be one of null, nsp, sop; got next"),
        ({"config": replace(CONFIG, shared_parameters="all")}, r"model\.shared_parameters=all, but .*; take none"),
        ({"config": replace(CONFIG, is_causal=True)}, r"model\.is_causal=true sees nothing after a mask"),
    ],
    ids=range(10),
)
def test_impossible_settings_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**changes)


def test_pairs_without_labels_are_refused_with_the_setting_to_change() -> None:
    with pytest.raises(ValueError, match=r"pair_target=nsp, but pairs=FullSentences gives mlm, .*pair_target=null"):
        objective().check_targets(["mlm", ENTITIES], "pairs=FullSentences")
    objective(pair_target=None).check_targets(["mlm", ENTITIES], "pairs=FullSentences")
