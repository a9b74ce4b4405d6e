"""What is compiled has no graph breaks, no recompilation, the same values, and runs under every strategy."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from bert_lightning.execution.compilation import Compilation, parts_of
from bert_lightning.models.attention import PackedAttention, flash_attention, varlen_attention
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from tests.support.compiled import TRACED, train
from tests.support.contestants import made_up
from tests.support.many_runs import run_together
from tests.support.parity import CONFIG, our_model, packed_examples, reference_model
from tests.support.runs import assert_close, run_here
from tests.support.settings import NO_DROPOUT, Settings

pytestmark = pytest.mark.usefixtures("fresh_dynamo")
SHALLOW = replace(CONFIG, num_hidden_layers=2)
DROPOUT = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
SETTINGS: Settings = {"compile": "layers", "compile.backend": "aot_eager"}


@pytest.mark.parametrize(("scope", "autocast"), [("layers", True), ("model", False)])
def test_compiled_equals_eager(scope: str, autocast: bool) -> None:
    """Losses and all gradients, in one graph for each part: a graph break is an error."""
    eager, compiled = (our_model(reference_model(SHALLOW), SHALLOW) for _ in range(2))
    Compilation(scope, **TRACED)(compiled, "cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        (loss, found), (expected_loss, expected) = train(compiled, packed_examples()), train(eager, packed_examples())
    torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=1e-6)
    assert counters["stats"]["unique_graphs"] == (1 if scope == "model" else 5)
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, atol=2e-2 if autocast else 1e-5, rtol=1e-2 if autocast else 1e-4
        )


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler")
def test_generated_kernels_equal_eager() -> None:
    """torch's own compiler on a CPU, one graph for several shapes."""
    eager, compiled = (our_model(reference_model(SHALLOW), SHALLOW) for _ in range(2))
    Compilation(on_cpu=True)(compiled, "cpu")
    for seed in range(3):
        batch = packed_examples(seed)
        (loss, found), (expected_loss, expected) = train(compiled, batch), train(eager, batch)
        torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    assert counters["stats"]["unique_graphs"] == 5


def test_dropout_draws_the_same_noise_compiled() -> None:
    model, compiled = (MaskedLMWithNSP(replace(SHALLOW, **DROPOUT)) for _ in range(2))
    compiled.load_state_dict(model.state_dict())
    Compilation("layers", **TRACED)(compiled, "cpu")
    (loss, found), (expected_loss, expected) = train(compiled, packed_examples()), train(model, packed_examples())
    torch.testing.assert_close(loss, expected_loss)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


def test_no_batch_after_the_first_compiles_anything() -> None:
    """Batches of other numbers of tokens, predictions and sequences of the same run share the graphs."""
    model = MaskedLMWithNSP(CONFIG)
    Compilation(**TRACED)(model, "cpu")
    batches = made_up(8)
    assert len({(len(batch.tokens.input_ids), len(batch.targets["mlm"].positions)) for batch in batches}) > 3
    first = batches[0]
    rows = sum(len(target.positions) for target in first.targets.values())
    assert rows == CONFIG.hidden_size  # equal by chance
    train(model, first)
    assert counters["stats"]["unique_graphs"] == 5  # embeddings, layers, the last layer, two heads
    for batch in batches[1:]:
        train(model, batch)
    assert counters["stats"]["unique_graphs"] == 5


@pytest.mark.parametrize("attention", [flash_attention, varlen_attention])
def test_the_graphs_for_gpus_have_no_breaks_either(attention: PackedAttention) -> None:
    """Traced without values, on the meta device: the kernels' attention and torch's own dropout."""
    dropout = DROPOUT if attention is flash_attention else {}
    with torch.device("meta"):
        model = MaskedLMWithNSP(replace(SHALLOW, **dropout), attention).bfloat16()
    Compilation(backend="aot_eager")(model, "cuda")
    train(model, packed_examples().to("meta"))
    assert counters["stats"]["unique_graphs"] == 5


def test_fixed_shapes_compile_once_each() -> None:
    model = MaskedLMWithNSP(SHALLOW)
    Compilation("model", dynamic=False, on_cpu=True, backend="eager")(model, "cpu")
    batches = made_up(4)
    for _ in range(2):
        for batch in batches:
            train(model, batch)
        shapes = {(len(batch.tokens.input_ids), len(batch.targets["mlm"].positions)) for batch in batches}
        assert counters["stats"]["unique_graphs"] == len(shapes)


def test_names_stay_and_every_weight_is_in_a_part() -> None:
    model = MaskedLMWithNSP(CONFIG)
    names = list(model.state_dict())
    Compilation(**TRACED)(model, "cpu")
    assert list(model.state_dict()) == names
    inside = {id(weight) for part in parts_of(model) for weight in part.parameters()}
    assert inside == {id(weight) for weight in model.parameters()}


def test_cpus_are_left_alone_unless_asked_for() -> None:
    assert not Compilation().applies_to("cpu")
    assert Compilation().applies_to("cuda")
    assert Compilation(on_cpu=True).applies_to("cpu")
    assert not Compilation(None, on_cpu=True).applies_to("cuda")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scope": "all"}, "compile.scope=all is none of null, layers, model"),
        ({"mode": "fast"}, "compile.mode=fast is none of default, "),
        ({"mode": "reduce-overhead"}, "compile.mode=reduce-overhead .* compile.dynamic=false"),
        ({"mode": "max-autotune"}, "compile.mode=max-autotune .* compile.dynamic=false"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Compilation(**settings)  # type: ignore[arg-type]


def test_a_run_is_the_same_compiled_under_every_strategy(base: Settings, tmp_path: Path) -> None:
    """bert-pretrain in one process, DDP and FSDP2 with accumulation, recomputed activations too."""
    settings = base | NO_DROPOUT | {"trainer.max_steps": 3, "trainer.val_check_interval": 3}
    half = settings | SETTINGS | {"data.micro_batch_size": 8}
    run_here(settings | {"run_name": "eager"})
    run_here(settings | SETTINGS | {"run_name": "compiled", "compile.scope": "model"})
    many = {
        "ddp": {"strategy": "ddp"},
        "recomputed": {"strategy": "fsdp", "activation_checkpointing": "true"},
    }
    run_together([half | changes | {"run_name": name} for name, changes in many.items()], 2, tmp_path)
    for name in ("compiled", *many):
        assert_close(tmp_path / "runs" / name, tmp_path / "runs" / "eager")


def test_one_graph_and_sharding_exclude_each_other(base: Settings) -> None:
    from bert_lightning.execution.strategies import FullyShardedStrategy
    from bert_lightning.pretrain import check_sharding
    from bert_lightning.settings.config import Processes

    with pytest.raises(ValueError, match=r"compile\.scope=model .* strategy=fsdp"):
        check_sharding(FullyShardedStrategy(), Processes("cpu", 2, 1, True), "32-true", "model")
