"""The objective as a GPU runs it, as far as a CPU can tell: forward and backward without values, compiled and not.

Tensors are on the meta device, which has no autocast, so weights are bfloat16 there; or, beside a GPU, they are fake
CUDA tensors under autocast. The oldest torch that is promised has a slow test.

One exception: compiled, the meta device has no backward pass of nll_loss (torch 2.11 and 2.13). So compiled tests take
the masked-token loss in chunks, an operation of this package with a gradient, and the pair head gets no gradient there.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode

from bert_lightning.benchmarks.model_batches import synthetic_batches
from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.float8 import to_float8
from bert_lightning.execution.sharding import recompute_activations
from bert_lightning.models.attention import choose_attention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.streams.packed_shape import PackedShape
from tests.support.checkout import ROOT
from tests.support.contestants import HALF
from tests.support.parity import losses

OLDEST = "2.11.0"
CONFIG = EncoderConfig(128, 64, 2, 2, 128, max_position_embeddings=40)
"""Sizes that are multiples of 16, as the kernels for 8-bit floats want."""
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DEVICES = [
    "meta",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="autograd asks for a context of the device"),
    ),
]
UNCOMPILED = Compilation(None)
COMPILATIONS = {
    "eager": UNCOMPILED,
    "layers": Compilation(backend="aot_eager"),
    "model": Compilation("model", backend="aot_eager"),
    "fixed": Compilation("model", dynamic=False, backend="aot_eager"),
}


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def train_without_values(
    device: str,
    compilation: Compilation,
    dropout: bool = True,
    precision: str = "bf16",
    recomputes: bool = False,
    chunk_rows: int | None = None,
) -> None:
    """Forward and backward over batches of three sizes; every weight gets a gradient of its shape."""
    config = CONFIG if dropout else replace(CONFIG, **NO_DROPOUT)
    is_half = precision != "fp32"
    batches = synthetic_batches(HALF, 3, PackedShape(32, 40), config.vocab_size, TokenMasking(), 0)
    attention = choose_attention("cuda", config.attention_probs_dropout_prob, is_half, 32)
    with ExitStack() as stack:
        if device == "cuda":
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            stack.enter_context(torch.autocast("cuda", torch.bfloat16, enabled=is_half))
        with torch.device(device):
            model = MaskedLMWithNSP(config, attention, chunk_rows=chunk_rows)
        if device == "meta" and is_half:
            model.bfloat16()
        if precision == "fp8":
            to_float8(model)
        compilation(model, "cuda")
        if recomputes:
            recompute_activations(model)
        for batch in batches:
            torch.stack(list(losses(model, batch.to(device)).values())).sum().backward()
        has_no_backward = ("nsp_head",) if device == "meta" and compilation is not UNCOMPILED else ()
        for name, weight in model.named_parameters():
            if name.startswith(has_no_backward):
                continue
            assert weight.grad is not None, name
            assert (weight.grad.shape, weight.grad.device.type) == (weight.shape, device), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["bf16", "fp8", "fp32"])
@pytest.mark.parametrize("dropout", [True, False])
def test_uncompiled(device: str, precision: str, dropout: bool) -> None:
    if precision == "fp8":
        pytest.importorskip("torchao")
    train_without_values(device, UNCOMPILED, dropout, precision)
    train_without_values(device, UNCOMPILED, dropout, precision, recomputes=True, chunk_rows=16)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("how", "precision", "dropout", "graphs"),
    [
        ("layers", "bf16", True, 5),
        ("layers", "fp8", False, 5),
        ("model", "bf16", False, 1),
        pytest.param("layers", "bf16", False, 5, marks=pytest.mark.slow),
        pytest.param("layers", "fp8", True, 5, marks=pytest.mark.slow),
        pytest.param("layers", "fp32", True, 5, marks=pytest.mark.slow),
        pytest.param("model", "fp8", True, 1, marks=pytest.mark.slow),
        pytest.param("fixed", "bf16", True, 3, marks=pytest.mark.slow),
    ],
)
def test_compiled(device: str, how: str, precision: str, dropout: bool, graphs: int) -> None:
    """Embeddings, layers, the last layer and two heads; or one graph, or one for each of three sizes."""
    if precision == "fp8":
        pytest.importorskip("torchao")
    train_without_values(device, COMPILATIONS[how], dropout, precision, chunk_rows=16)
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.parametrize("device", DEVICES)
def test_compiled_with_recomputed_layers(device: str) -> None:
    train_without_values(device, COMPILATIONS["layers"], recomputes=True, chunk_rows=16)
    assert counters["stats"]["unique_graphs"] == 5


@pytest.mark.slow
@pytest.mark.skipif(torch.__version__.startswith(OLDEST), reason="this is the oldest torch")
@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv to make an environment")
def test_the_oldest_torch_runs_it_too(tmp_path: Path) -> None:
    """These tests in a fresh environment with the oldest torch that pyproject.toml allows: several GB to fetch."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(["uv", "venv", "--python", sys.executable, str(tmp_path / "venv")], check=True)
    wanted = [f"torch=={OLDEST}", "-e", f"{ROOT}[fp8,hf,prepare]", "pytest", "hypothesis"]
    subprocess.run(["uv", "pip", "install", "--python", str(python), *wanted], check=True)
    tests = ["tests/execution/test_gpu_path.py", "tests/execution/test_compilation.py", "tests/models"]
    ran = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
