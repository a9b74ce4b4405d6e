"""callbacks=profile: a page whose figures are those of the operations, on the path of bert-pretrain."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from bert_lightning.callbacks.profiling import StepProfile, mark_modules
from bert_lightning.execution.compilation import Compilation
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.profiling.step_profile import by_kind_and_phase, by_module, largest, slices
from tests.support.compiled import TRACED, train
from tests.support.parity import CONFIG, packed_examples
from tests.support.runs import run_here
from tests.support.settings import Settings


def profiled_step(model: MaskedLMWithNSP) -> Any:
    marks = mark_modules(model)
    with torch.profiler.profile() as profiler, torch.profiler.record_function("forward"):
        train(model, packed_examples())
    for mark in marks:
        mark.remove()
    return profiler.events()


def test_a_run_leaves_a_trace_and_a_page(base: Settings, tmp_path: Path) -> None:
    run_here(
        base
        | {"run_name": "seen", "callbacks": "profile", "trainer.max_steps": 5, "callbacks.profile.skip_steps": 2}
        | {"callbacks.profile.num_steps": 2, "model.hidden_dropout_prob": 0.1}
    )
    folder = tmp_path / "runs" / "seen" / "profile"
    page = (folder / "summary.md").read_text()
    assert "Steps 3 to 4:" in page
    for row in ("matrix products", "attention", "normalization", "optimizer", "waiting for data", "gradient norm"):
        assert f"\n| {row} |" in page, row
    for module in ("encoder.embeddings", "encoder.layers", "mlm_head", "nsp_head"):
        assert f"\n| {module} |" in page, module
    shares = [float(line.split("|")[-2].strip(" %")) for line in page.splitlines() if line.endswith("% |")]
    assert sum(shares[: shares.index(100.0)]) == pytest.approx(100, abs=1)
    assert (folder / "summary.png").read_bytes().startswith(b"\x89PNG")
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    assert {"forward", "data wait", "clip"} <= {event.get("name") for event in trace["traceEvents"]}


def test_every_module_has_its_own_work() -> None:
    found = slices(profiled_step(MaskedLMWithNSP(CONFIG)), on_gpu=False)
    products = {
        (module, phase)
        for module in ("encoder.layers", "mlm_head", "nsp_head")
        for phase in ("forward", "backward")
        if any(one.kind == "matrix products" and (one.module, one.phase) == (module, phase) for one in found)
    }
    assert len(products) == 6
    assert by_module(found)["encoder.embeddings"] > 0
    assert by_kind_and_phase(found)["attention"]["backward"] > 0
    names = [name for name, _, _ in largest(found, 1000)]
    assert len(names) == len(set(names)) > 20


def test_all_own_times_are_counted_once() -> None:
    events = profiled_step(MaskedLMWithNSP(CONFIG))
    found = slices(events, on_gpu=False)
    outermost = sum(event.cpu_time_total for event in events if event.cpu_parent is None)
    assert sum(one.seconds for one in found) == pytest.approx(outermost / 1e6, rel=0.02)


def test_on_a_gpu_the_kernels_count() -> None:
    """Events as the profiler gives them there: operations that have started kernels."""
    cpu = SimpleNamespace(name="CPU")

    def event(name: str, above: Any = None, kernels: tuple[tuple[str, float], ...] = ()) -> Any:
        made = [SimpleNamespace(name=kernel, duration=duration) for kernel, duration in kernels]
        return SimpleNamespace(
            name=name, device_type=cpu, cpu_parent=above, kernels=made, sequence_nr=-1, self_cpu_time_total=99
        )

    forward, update = event("forward"), event("Optimizer.step#AdamW.step")
    layers = event("module: encoder.layers", forward)
    product = event("aten::addmm", layers, (("nvjet_tst", 30.0),))
    fused = event("triton_fused_0", layers, (("triton_per_fused_add_native_dropout_native_layer_norm_0", 10.0),))
    flash = event("aten::_flash_attention_forward", layers, (("pytorch_flash::flash_fwd_kernel", 20.0),))
    backward = event("autograd::engine::evaluate_function: AddmmBackward0")
    of_weight = event("aten::mm", backward, (("nvjet_ntn", 50.0), ("Memset (Device)", 1.0)))
    adam = event("aten::_fused_adamw_", update, (("multi_tensor_apply_kernel", 40.0),))
    found = slices([forward, update, layers, product, fused, flash, backward, of_weight, adam], on_gpu=True)
    table = {kind: {p: round(s * 1e6) for p, s in row.items() if s} for kind, row in by_kind_and_phase(found).items()}
    assert table == {
        "matrix products": {"forward": 30, "backward": 50},
        "optimizer": {"optimizer": 40},
        "attention": {"forward": 20},
        "normalization": {"forward": 10},
        "copies and casts": {"backward": 1},
    }
    assert round(by_module(found)["encoder.layers"] * 1e6) == 60


def test_looking_compiles_nothing_again() -> None:
    torch._dynamo.reset()
    counters.clear()
    model = MaskedLMWithNSP(CONFIG)
    Compilation(**TRACED | {"backend": "eager"})(model, "cpu")
    train(model, packed_examples())
    graphs = counters["stats"]["unique_graphs"]
    found = slices(profiled_step(model), on_gpu=False)
    train(model, packed_examples())
    assert counters["stats"]["unique_graphs"] == graphs == 5
    assert {"encoder.layers", "mlm_head", "nsp_head"} <= {one.module for one in found}
    assert not mark_modules(compiled_whole())
    torch._dynamo.reset()


def compiled_whole() -> MaskedLMWithNSP:
    model = MaskedLMWithNSP(CONFIG)
    Compilation("model", on_cpu=True, backend="eager")(model, "cpu")
    return model


def test_wrong_numbers_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"callbacks\.profile\.num_steps must be a whole number, at least 1; got 0"):
        StepProfile(tmp_path, num_steps=0)
