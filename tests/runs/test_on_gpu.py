"""What only a GPU can show: kernels and compiled graphs equal the plain ones, and nothing waits in the steady loop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_session.no_waiting import NoWaiting
from torch import Tensor
from torch._dynamo.utils import counters

from bert_lightning.benchmarks.model_batches import synthetic_batches
from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.float8 import to_float8
from bert_lightning.execution.sharding import recompute_activations
from bert_lightning.models.attention import attention_of
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.training.optim import allocate_gradients
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.packed_shape import PackedShape
from tests.support.contestants import HALF
from tests.support.parity import gradients, losses
from tests.support.runs import run_here
from tests.support.settings import Settings
from tests.support.training import fit, make_module, make_objective

pytestmark = [
    pytest.mark.usefixtures("fresh_dynamo"),
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CONFIG = EncoderConfig(
    vocab_size=3000,
    hidden_size=256,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=1024,
    max_position_embeddings=128,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
Learned = tuple[float, dict[str, Tensor]]
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
SHAPE = PackedShape(32, 128)


def models(number: int, config: EncoderConfig = CONFIG, **options: Any) -> list[MaskedLMWithNSP]:
    """The same weights several times."""
    attention = attention_of(config, "cuda", True)
    first, *others = (MaskedLMWithNSP(config, attention, **options).cuda() for _ in range(number))
    for other in others:
        other.load_state_dict(first.state_dict())
    return [first, *others]


def batches(count: int) -> list[PackedBatch]:
    made = synthetic_batches(HALF, count, SHAPE, CONFIG.vocab_size, TokenMasking(), 0)
    return [batch.to("cuda") for batch in made]


def learn(model: MaskedLMWithNSP, parts: list[PackedBatch]) -> Learned:
    """The summed loss and all gradients of accumulated micro-batches, under bf16 autocast."""
    torch.manual_seed(0)
    total = 0.0
    for part in parts:
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.stack(list(losses(model, part).values())).sum()
        loss.backward()
        total += loss.item()
    return total, gradients(model)


def assert_alike(found: Learned, expected: Learned, error: float) -> None:
    """Losses within `error`, every gradient within twenty times of it, both relative."""
    assert found[0] == pytest.approx(expected[0], rel=error)
    for name, gradient in expected[1].items():
        distance = (found[1][name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert distance < 20 * error, f"{name}: {distance}"


@pytest.mark.parametrize("options", [{}, {"dynamic": False}, {"scope": "model"}, {"scope": "model", "dynamic": False}])
def test_compiled_equals_eager_and_compiles_nothing_twice(options: dict[str, Any]) -> None:
    compiled, eager = models(2)
    Compilation(**options)(compiled, "cuda")
    parts = batches(4)
    for _ in range(2):
        assert_alike(learn(compiled, parts), learn(eager, parts), 5e-3)
    graphs = counters["stats"]["unique_graphs"]
    learn(compiled, parts)
    assert counters["stats"]["unique_graphs"] == graphs


def test_cuda_graphs_equal_eager_with_accumulation() -> None:
    recorded, eager = models(2)
    Compilation("model", "reduce-overhead", dynamic=False)(recorded, "cuda")
    parts = batches(2)
    expected = learn(eager, parts)
    for _ in range(4):  # warm-up, recording, replays
        allocate_gradients(recorded)
        assert_alike(learn(recorded, parts), expected, 5e-3)


@pytest.mark.parametrize("options", [{}, {"scope": "model"}])
def test_dropout_compiled_is_new_in_every_step_and_keeps_the_loss(options: dict[str, Any]) -> None:
    compiled, eager = models(2, replace(CONFIG, **DROPOUT))
    Compilation(**options)(compiled, "cuda")
    (part,) = batches(1)
    sums = []
    for seed in range(20):
        torch.manual_seed(seed)
        with torch.autocast("cuda", torch.bfloat16):
            sums.append([sum(losses(model, part).values()).item() for model in (compiled, eager)])
    found, expected = torch.tensor(sums).T
    assert len(set(found.tolist())) > 10
    assert found.mean() == pytest.approx(expected.mean().item(), rel=0.02)


def test_recomputed_layers_draw_the_same_dropout() -> None:
    recomputed, kept = models(2, replace(CONFIG, **DROPOUT))
    for model in (recomputed, kept):
        Compilation()(model, "cuda")
    recompute_activations(recomputed)
    assert_alike(learn(recomputed, batches(2)), learn(kept, batches(2)), 5e-3)


def test_scores_in_chunks_equal_all_at_once() -> None:
    chunked, plain = *models(1, chunk_rows=64), *models(1)
    plain.load_state_dict(chunked.state_dict())
    Compilation()(chunked, "cuda")
    assert_alike(learn(chunked, batches(2)), learn(plain, batches(2)), 5e-3)


@pytest.mark.skipif(torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="no 8-bit floats")
def test_fp8_is_close_to_bf16_compiled() -> None:
    pytest.importorskip("torchao")
    rounded, plain = models(2)
    to_float8(rounded)
    Compilation()(rounded, "cuda")
    assert_alike(learn(rounded, batches(2)), learn(plain, batches(2)), 2e-2)


def test_the_steady_loop_never_waits(prepared: Path, tmp_path: Path) -> None:
    objective = make_objective(prepared, dropout=0.1)
    for layer in objective.encoder.layers:
        layer.attention.attention = attention_of(objective.encoder.config, "cuda", True)
    watch = NoWaiting()
    module = make_module(objective, 8, log_every_n_steps=4)
    fit(module, prepared, tmp_path, 8, accelerator="gpu", devices=1, precision="bf16-mixed", callbacks=[watch])
    assert watch.num_steps == 3


@pytest.mark.parametrize(
    "changes",
    [{}, {"trainer.precision": "fp8"}, {"compile": "cuda_graphs"}],
    ids=["bf16", "fp8", "cuda_graphs"],
)
def test_a_run_learns_and_is_profiled(base: Settings, tmp_path: Path, changes: Settings) -> None:
    """bert-pretrain as a user calls it, on one GPU."""
    if "trainer.precision" in changes:
        pytest.importorskip("torchao")
    settings = base | {"run_name": "gpu", "trainer.accelerator": "gpu", "trainer.precision": "bf16-mixed"}
    settings |= {"data.micro_batch_size": 32, "data.global_batch_size": 64, "model.hidden_size": 64}
    settings |= {"callbacks": "profile", "callbacks.profile.skip_steps": 6, "callbacks.profile.num_steps": 3}
    trainer = run_here(settings | changes)
    assert trainer.global_step == 14
    page = (tmp_path / "runs" / "gpu" / "profile" / "summary.md").read_text()
    for row in ("matrix products", "attention", "optimizer"):
        assert f"\n| {row} |" in page, page
