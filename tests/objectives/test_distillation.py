"""The three distillations against closed forms, the published formulas in padded rows, and their rules for teachers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertForPreTraining

from bert_lightning.checkpoints.huggingface import from_huggingface
from bert_lightning.checkpoints.tensor_checks import check_state
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.distillation import Distillation
from bert_lightning.objectives.layer_distillation import LayerDistillation
from bert_lightning.objectives.objective import Objective
from bert_lightning.objectives.relation_distillation import RelationDistillation
from bert_lightning.objectives.soft_targets import soft_losses
from bert_lightning.objectives.teacher import Teacher
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.models import MODERN
from tests.support.parity import (
    CONFIG,
    Padded,
    gradients,
    losses,
    one_by_one,
    packed_examples,
    padded,
    random_weights,
    reference_model,
)

TEACHER = replace(CONFIG, num_hidden_layers=4, hidden_size=48, intermediate_size=96)
NARROW = replace(CONFIG, num_hidden_layers=2)
SHALLOW = replace(TEACHER, num_hidden_layers=2)
LOCAL = replace(TEACHER, **MODERN)


def taught_by(config: EncoderConfig = TEACHER) -> tuple[BertForPreTraining, Teacher]:
    """A model of transformers, and a teacher with its weights."""
    reference = reference_model(config).eval()
    state = from_huggingface(reference.state_dict(), config)
    teacher = Teacher(config)
    teacher.load_state_dict({name: each for name, each in state.items() if name.startswith(("encoder", "mlm_head"))})
    return reference, teacher


def student_of(model: Objective, config: EncoderConfig) -> BertForPreTraining:
    """A model of transformers with the random weights of a student; heads that the student lacks are random."""
    reference = reference_model(config).eval()
    state = from_huggingface(reference.state_dict(), config)
    names = set(model.state_dict()) & set(state)
    model.load_state_dict({name: state[name] for name in names}, strict=False)
    return reference


def seen(model: BertForPreTraining, rows: Padded) -> dict[str, Any]:
    """Logits, hidden states, and queries, keys and values by layer, (layers, 3, batch, heads, seq, head_dim)."""
    kept: list[Tensor] = []
    hooks = [
        part.register_forward_hook(lambda module, inputs, output: kept.append(output))
        for layer in model.bert.encoder.layer
        for part in (layer.attention.self.query, layer.attention.self.key, layer.attention.self.value)
    ]
    found = model(rows.input_ids, rows.attention_mask, rows.token_type_ids, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    heads = model.config.num_attention_heads
    qkv = torch.stack([each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in kept]).unflatten(0, (-1, 3))
    return {"logits": found.prediction_logits, "hidden": found.hidden_states, "qkv": qkv}


def distilled(**options: Any) -> tuple[Distillation, dict[str, Any], dict[str, Any], Padded, PackedBatch]:
    reference, teacher = taught_by()
    model = random_weights(Distillation(SHALLOW, teacher, **options))
    assert isinstance(model, Distillation)
    student, batch = student_of(model, SHALLOW), packed_examples()
    rows = padded(batch)
    return model, seen(student, rows), seen(reference, rows), rows, batch


@pytest.mark.parametrize("tokens", ["all", "masked"])
@pytest.mark.parametrize("chunk_rows", [None, 7])
def test_the_losses_of_distilbert_are_those_of_its_training_code(tokens: str, chunk_rows: int | None) -> None:
    """KLDivLoss(batchmean) of softened logits times T^2, and CosineEmbeddingLoss, over the chosen tokens."""
    options: dict[str, Any] = {"temperature": 3.0, "taught_tokens": tokens, "chunk_rows": chunk_rows}
    model, said, wanted, rows, batch = distilled(**options)
    chosen = rows.attention_mask.bool() if tokens == "all" else rows.labels != -100
    ours, theirs = said["logits"][chosen], wanted["logits"][chosen]
    soft = nn.KLDivLoss(reduction="batchmean")((ours / 3).log_softmax(-1), (theirs / 3).softmax(-1)) * 9
    hidden, taught = said["hidden"][-1][chosen], wanted["hidden"][-1][chosen]
    cosine = nn.CosineEmbeddingLoss()(hidden, taught, torch.ones(len(hidden)))
    mlm = F.cross_entropy(said["logits"].flatten(0, 1), rows.labels.flatten())
    sums, counts = model(batch), model.counts(batch)
    for name, expected in (("soft_loss", soft), ("cosine_loss", cosine), ("mlm_loss", mlm)):
        torch.testing.assert_close(sums[name] / counts[name], expected.detach(), atol=1e-5, rtol=1e-5)
    assert {name: model.quantities[name].loss_weight for name in ("soft_loss", "mlm_loss", "cosine_loss")} == {
        "soft_loss": 5.0,
        "mlm_loss": 2.0,
        "cosine_loss": 1.0,
    }


def test_soft_targets_of_a_worked_example() -> None:
    """Two classes, T=2: the teacher says 0.8 and 0.2, the student 0.5 and 0.5; 4 (0.8 ln 1.6 + 0.2 ln 0.4)."""
    taught = 2 * torch.tensor([[0.8, 0.2]]).log()
    expected = 4 * (0.8 * torch.tensor(1.6).log() + 0.2 * torch.tensor(0.4).log())
    torch.testing.assert_close(soft_losses(torch.zeros(1, 2), taught, 2.0), expected[None])
    torch.testing.assert_close(soft_losses(taught + 7, taught, 2.0), torch.zeros(1), atol=1e-6, rtol=0)


def by_layers(student: EncoderConfig = NARROW, **options: Any) -> LayerDistillation:
    return random_weights(LayerDistillation(student, taught_by()[1], **options))  # type: ignore[return-value]


@pytest.mark.parametrize(("layers", "numbers"), [("evenly", [2, 4]), ([1, 3], [1, 3])])
def test_the_losses_of_tinybert_are_those_of_its_formulas(layers: Any, numbers: list[int]) -> None:
    """Mean squared errors of each sequence alone (equations 7 to 9), weighted by its length and summed over layers."""
    model = by_layers(teacher_layers=layers)
    student, batch = student_of(model, NARROW), packed_examples()
    rows = padded(batch)
    said, wanted = seen(student, rows), seen(taught_by()[0], rows)
    expected = dict.fromkeys(("embedding_loss", "hidden_loss", "attention_loss"), torch.tensor(0.0))
    for row, length in enumerate(rows.attention_mask.sum(-1).tolist()):
        for layer, taught in enumerate([0, *numbers]):
            widened = model.width_projection(said["hidden"][layer][row, :length])
            name = "hidden_loss" if layer else "embedding_loss"
            expected[name] = expected[name] + length * F.mse_loss(widened, wanted["hidden"][taught][row, :length])
        for layer, taught in enumerate(numbers):
            ours, theirs = (
                qkv[number, 0, row, :, :length] @ qkv[number, 1, row, :, :length].mT / qkv.shape[-1] ** 0.5
                for qkv, number in ((said["qkv"], layer), (wanted["qkv"], taught - 1))
            )
            expected["attention_loss"] = expected["attention_loss"] + length * F.mse_loss(ours, theirs)
    sums = model(batch)
    for name, value in expected.items():
        torch.testing.assert_close(sums[name], value, atol=1e-3, rtol=1e-5)
    assert set(model.counts(batch).values()) == {batch.num_tokens}


def by_relations(student: EncoderConfig = NARROW, **options: Any) -> RelationDistillation:
    options = {"relation_heads": 8} | options
    return random_weights(RelationDistillation(student, taught_by()[1], **options))  # type: ignore[return-value]


@pytest.mark.parametrize("layer", [None, 3])
def test_the_losses_of_minilm_are_those_of_its_formulas(layer: int | None) -> None:
    """KL of softmax(A A^T / sqrt(d_r)) for each relation head, a mean over heads and tokens (equations 5 to 7)."""
    model = by_relations(teacher_layer=layer)
    student, batch = student_of(model, NARROW), packed_examples()
    rows = padded(batch)
    said, wanted = seen(student, rows)["qkv"][-1], seen(taught_by()[0], rows)["qkv"][(layer or 4) - 1]
    sums = model(batch)
    for part, name in enumerate(("query_loss", "key_loss", "value_loss")):
        expected = torch.tensor(0.0)
        for row, length in enumerate(rows.attention_mask.sum(-1).tolist()):
            ours, theirs = (
                each[part, row, :, :length].transpose(0, 1).reshape(length, 8, -1).transpose(0, 1)
                for each in (said, wanted)
            )
            logs = [(each @ each.mT / each.shape[-1] ** 0.5).log_softmax(-1) for each in (ours, theirs)]
            expected = expected + (logs[1].exp() * (logs[1] - logs[0])).sum() / 8
        torch.testing.assert_close(sums[name], expected, atol=1e-3, rtol=1e-5)


MODELS: dict[str, Callable[[], Objective]] = {
    "distillation": lambda: distilled()[0],
    "masked tokens alone": lambda: distilled(taught_tokens="masked", cosine_weight=0.0)[0],
    "layers": by_layers,
    "relations": by_relations,
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


@each_model
def test_examples_in_one_batch_teach_what_they_teach_one_by_one(make: Callable[[], Objective]) -> None:
    model, batch = make(), packed_examples()
    together = losses(model, batch)
    torch.stack(list(together.values())).sum().backward()
    packed = gradients(model)
    alone = [losses(model, each) for each in one_by_one(batch)]
    torch.stack([each for sums in alone for each in sums.values()]).sum().backward()
    for name, value in together.items():
        torch.testing.assert_close(value, torch.stack([sums[name] for sums in alone]).sum(), atol=1e-3, rtol=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(packed[name], gradient, atol=2e-3, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@each_model
def test_the_teacher_is_read_and_nothing_else(make: Callable[[], Objective]) -> None:
    """No gradient, no dropout, no tensor of it in the state; every parameter of the student has a gradient."""
    model, batch = make(), packed_examples()
    (teacher,) = model.frozen()
    before = {name: each.clone() for name, each in teacher.state_dict().items()}
    model.train()
    assert not any(module.training for module in teacher.modules())
    torch.stack(list(losses(model, batch).values())).sum().backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(each, before[name]) for name, each in teacher.state_dict().items())
    assert {id(each) for each in model.parameters()}.isdisjoint(id(each) for each in teacher.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())
    own = model.main_encoder().config
    check_state(model.state_dict(), own, "x.ckpt")
    assert {name.partition(".")[0] for name in model.state_dict()} <= {"encoder", "mlm_head", "width_projection"}


@pytest.mark.parametrize(("layers", "expected"), [("evenly", [0, 2]), ([2, 4], [1, 3])])
def test_a_student_begins_with_layers_of_its_teacher(layers: Any, expected: list[int]) -> None:
    _, teacher = taught_by()
    student = Distillation(replace(SHALLOW, type_vocab_size=0), teacher, init_layers=layers)
    given, own = teacher.state_dict(), student.state_dict()
    assert "encoder.embeddings.segment.weight" not in own
    for name, tensor in own.items():
        source = name
        for number, layer in enumerate(expected):
            if name.startswith(f"encoder.layers.{number}."):
                source = name.replace(f"layers.{number}.", f"layers.{layer}.")
        assert torch.equal(tensor, given[source]), name
    new = Distillation(SHALLOW, teacher, init_layers=None)
    assert not torch.equal(new.mlm_head.transform.weight, given["mlm_head.transform.weight"])


def test_a_modern_student_begins_with_layers_of_the_same_kind() -> None:
    """Layers 1 and 4 are global, but 4 has a LayerNorm that 1 lacks; by default each layer meets one of its kind."""
    teacher = Teacher(LOCAL)
    student = Distillation(replace(LOCAL, num_hidden_layers=2), teacher)
    weights = student.encoder.layers[1].state_dict()
    assert all(torch.equal(each, weights[name]) for name, each in teacher.encoder.layers[2].state_dict().items())


@pytest.mark.parametrize("shared", ["all", "feed_forward"])
def test_shared_layers_of_a_student_get_shared_layers_of_its_teacher(shared: str) -> None:
    taught = replace(TEACHER, num_hidden_layers=4, shared_parameters=shared, num_hidden_groups=2)
    teacher, config = Teacher(taught), replace(taught, num_hidden_layers=3)
    student = Distillation(config, teacher, init_layers=[1, 2, 4])
    for layer, number in zip(student.encoder.layers_in_order(), (1, 2, 4), strict=True):
        wanted = teacher.encoder.layers_in_order()[number - 1].output.weight
        assert torch.equal(layer.output.weight, wanted)
    with pytest.raises(ValueError, match=r"the layers 1 and 2 of the student, .* of layers 2 and 3 of the teacher"):
        Distillation(config, teacher, init_layers=[2, 3, 4])


def headless() -> Teacher:
    return Teacher(TEACHER, has_mlm_head=False)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Distillation(SHALLOW, headless()), "objective.teacher has no head for masked tokens"),
        (lambda: Distillation(NARROW, taught_by()[1]), "model.hidden_size=32 and objective.teacher has 48; take 0"),
        (
            lambda: Distillation(NARROW, taught_by()[1], cosine_weight=0.0),
            "model.hidden_size=32, but objective.teacher has 48; they must be equal, or objective.init_layers=null",
        ),
        (lambda: Distillation(SHALLOW, taught_by()[1], temperature=0.0), "objective.temperature must be above 0; got"),
        (lambda: Distillation(SHALLOW, taught_by()[1], soft_weight=-1.0), "objective.soft_weight must be a number"),
        (lambda: Distillation(SHALLOW, taught_by()[1], taught_tokens="some"), "one of all, masked; got some"),
        (
            lambda: Distillation(SHALLOW, taught_by()[1], init_layers=[1, 5]),
            r"objective.init_layers must be evenly, or 2 numbers from 1 to 4; got \[1, 5\]",
        ),
        (lambda: Distillation(SHALLOW, taught_by()[1], init_layers="last"), "must be evenly, or 2 .*; got last"),
        (
            lambda: Distillation(replace(LOCAL, num_hidden_layers=2), Teacher(LOCAL), init_layers=[3, 4]),
            "layer 1 of the student the weights of layer 3 of the teacher, which differ in local attention: False",
        ),
        (
            lambda: Distillation(replace(LOCAL, num_hidden_layers=2), Teacher(LOCAL), init_layers=[4, 2]),
            "layer 4 of the teacher, which differ in LayerNorm before its attention: False here, True there; name",
        ),
        (
            lambda: LayerDistillation(replace(NARROW, num_attention_heads=2), headless()),
            "model.num_attention_heads=2, but objective.teacher has 4",
        ),
        (
            lambda: LayerDistillation(replace(NARROW, num_hidden_layers=3), headless()),
            "whose 4 layers are a multiple of model.num_hidden_layers=3; give a list of 3 layers",
        ),
        (
            lambda: LayerDistillation(replace(NARROW, local_attention=8), headless()),
            "objective=layer_distillation compares all pairs .* the student has local_attention=8",
        ),
        (lambda: RelationDistillation(NARROW, headless(), relation_heads=24), "=24 does not divide 32"),
        (lambda: RelationDistillation(NARROW, headless(), relation_heads=32), "=32 does not divide 48"),
        (
            lambda: RelationDistillation(NARROW, headless(), relation_heads=8, teacher_layer=5),
            "objective.teacher_layer=5, but objective.teacher has 4 layers",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(make: Callable[[], Objective], said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        make()
    assert "\n" not in str(error.value)
