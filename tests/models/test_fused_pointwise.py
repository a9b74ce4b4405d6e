"""The kernels between matrix products, run by Triton's interpreter on a CPU and compiled for GPUs that are not here."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bert_lightning.models.dropout import rounded
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.packed_batch import PackedTokens
from tests.models.interpreted import run_interpreted

CASES = {"no dropout": (0.0, 1), "dropout": (0.5, 1), "two readers": (0.1, 2), "dropout that rounds to 0": (1e-6, 1)}
TOKENS, HIDDEN, INTERMEDIATE, EPS = 37, 48, 700, 1e-5

# Few programs share the tokens, so that each goes through several; the interpreter is slow.
PROGRAM = """
import sys, torch
from torch._dynamo.utils import counters
from bert_lightning.models import fused_pointwise, residual
from bert_lightning.models.encoder import EncoderLayer
from bert_lightning.execution.compilation import Compilation

fused_pointwise.SHARES |= dict.fromkeys(fused_pointwise.SHARES, 3)
inputs = torch.load(sys.argv[1], weights_only=False)
results = {}
for name, (dropout_p, num_readers) in inputs["cases"].items():
    leaves = [tensor.clone().requires_grad_() for tensor in inputs["leaves"]]
    torch.manual_seed(0)
    found = fused_pointwise.add_and_normalize(*leaves, inputs["eps"], dropout_p, num_readers)
    torch.manual_seed(0)
    words = fused_pointwise.draw_words(leaves[0], dropout_p)
    gradients = torch.autograd.grad(found, leaves, inputs["gradients"][:num_readers])
    results[name] = ([one.detach() for one in found], gradients, words)
leaves = [tensor.clone().requires_grad_() for tensor in inputs["leaves"]]
(found,) = fused_pointwise.add_and_normalize(*leaves, inputs["eps"], 0.0)
sliced = torch.cat([torch.zeros_like(found), inputs["gradients"][0]], 1)[:, found.shape[1] :]
results["sliced"] = torch.autograd.grad(found, leaves, sliced)
leaves = [tensor.clone().requires_grad_() for tensor in inputs["gelu"][:2]]
activated = fused_pointwise.biased_gelu(*leaves)
results["gelu"] = (activated.detach(), torch.autograd.grad(activated, leaves, inputs["gelu"][2]))

residual._fuses = lambda linear, inputs: True
config, batches = inputs["layer"]
torch.manual_seed(0)
layer = EncoderLayer(config, lambda qkv, *rest: qkv.sum(1), 0)
results["layer"] = []
for compilation in (Compilation(scope=None), Compilation(on_cpu=True, backend="aot_eager")):
    compilation(layer, "cpu")
    for tokens, hidden in batches:
        layer.zero_grad()
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(hidden, tokens)
        out.float().square().sum().backward()
        results["layer"].append([out.detach(), *(parameter.grad.clone() for parameter in layer.parameters())])
results["graphs"] = counters["stats"]["unique_graphs"]
torch.save(results, sys.argv[2])
"""


@pytest.fixture(scope="module")
def leaves() -> list[Tensor]:
    """Update, bias, residual, weight and shift."""
    torch.manual_seed(1)
    shapes = ((TOKENS, HIDDEN), (HIDDEN,), (TOKENS, HIDDEN), (HIDDEN,), (HIDDEN,))
    return [torch.randn(shape) for shape in shapes]


@pytest.fixture(scope="module")
def upstream() -> list[Tensor]:
    """Gradients of two readers."""
    torch.manual_seed(2)
    return list(torch.randn(2, TOKENS, HIDDEN))


@pytest.fixture(scope="module")
def gelu() -> tuple[Tensor, ...]:
    """Input, bias and gradient of GELU."""
    torch.manual_seed(3)
    return 2 * torch.randn(TOKENS, INTERMEDIATE), torch.randn(INTERMEDIATE), torch.randn(TOKENS, INTERMEDIATE)


def batch_of(*lengths: int) -> tuple[PackedTokens, Tensor]:
    """Tokens, of which a layer reads the offsets alone, and their hidden states."""
    offsets = torch.tensor([0, *lengths]).cumsum(0).int()
    rows = torch.ones(sum(lengths), dtype=torch.long)
    return PackedTokens(rows, rows, rows, offsets, 32), torch.randn(len(rows), 32).bfloat16()


@pytest.fixture(scope="module")
def results(tmp_path_factory: Any, leaves: Any, upstream: Any, gelu: Any) -> dict[str, Any]:
    """All results, from one process."""
    sizes: Any = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = EncoderConfig(vocab_size=50, max_position_embeddings=16, hidden_dropout_prob=0.1, **sizes)
    layer = (config, [batch_of(5, 9, 3), batch_of(20, 11), batch_of(2, 6, 9, 10)])
    folder = tmp_path_factory.mktemp("interpreted")
    inputs = {"cases": CASES, "leaves": leaves, "gradients": upstream, "gelu": gelu, "eps": EPS, "layer": layer}
    return run_interpreted(PROGRAM, inputs, folder)


def kept_by(words: Tensor, dropout_p: float) -> Tensor:
    """What dropout keeps, (tokens, hidden), by the hash in plain numbers."""
    first, second = (int(word) % 2**32 for word in words)
    kept = []
    for index in range(TOKENS * HIDDEN):
        mixed = (index * 2654435769 + first) % 2**32
        mixed = ((mixed ^ mixed >> 16) * 2246822507 % 2**32) ^ second
        mixed = (mixed ^ mixed >> 13) * 3266489909 % 2**32
        kept.append((mixed ^ mixed >> 16) >= round(rounded(dropout_p) * 2**32))
    return torch.tensor(kept).view(TOKENS, HIDDEN)


@pytest.mark.parametrize("name", CASES)
def test_kernels_equal_layer_norm_of_residual_and_dropout(
    results: dict[str, Any], leaves: list[Tensor], upstream: list[Tensor], name: str
) -> None:
    dropout_p, num_readers = CASES[name]
    found, gradients, words = results[name]
    update, bias, residual, weight, shift = copies = [leaf.clone().requires_grad_() for leaf in leaves]
    kept = kept_by(words, dropout_p) / (1 - rounded(dropout_p)) if len(words) else 1
    assert bool(len(words)) == (rounded(dropout_p) > 0)
    expected = F.layer_norm(residual + (update + bias) * kept, (HIDDEN,), weight, shift, EPS)
    assert len(found) == num_readers
    for one in found:
        torch.testing.assert_close(one, expected.detach(), atol=3e-6, rtol=1e-5)
    for one, other in zip(
        gradients, torch.autograd.grad(expected, copies, sum(upstream[:num_readers], torch.zeros(()))), strict=True
    ):
        torch.testing.assert_close(one, other, atol=3e-5, rtol=1e-5)


def test_a_gradient_may_be_a_slice_of_a_wider_one(results: dict[str, Any]) -> None:
    for one, other in zip(results["sliced"], results["no dropout"][1], strict=True):
        assert torch.equal(one, other)


def test_kernels_equal_gelu_with_a_bias(results: dict[str, Any], gelu: tuple[Tensor, ...]) -> None:
    x, bias, gradient = gelu[0].clone().requires_grad_(), gelu[1].clone().requires_grad_(), gelu[2]
    expected = F.gelu(x + bias)
    found, gradients = results["gelu"]
    torch.testing.assert_close(found, expected.detach(), atol=3e-6, rtol=1e-5)
    for one, other in zip(gradients, torch.autograd.grad(expected, (x, bias), gradient), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_compiled_layer_is_the_layer_and_one_graph_serves_all_batches(results: dict[str, Any]) -> None:
    eager, compiled = results["layer"][:3], results["layer"][3:]
    for batch, other_batch in zip(eager, compiled, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(batch, other_batch, strict=True))
        assert all(one.isfinite().all() and one.any() for one in batch)
    assert results["graphs"] == 1


def test_decisions_are_as_good_as_independent() -> None:
    """The share of kept elements, and of neighbors in a row and in a column, is that of coin tosses."""
    torch.manual_seed(0)
    p = 0.1
    counts = []
    for _ in range(30):
        kept = kept_by(torch.randint(-(2**31), 2**31, (2,), dtype=torch.int32), p)
        both = [kept.double(), kept[1:] & kept[:-1], kept[:, 1:] & kept[:, :-1], kept[:, 8:] & kept[:, :-8]]
        counts.append([share.double().mean() for share in both])
    means = torch.tensor(counts).mean(0)
    keeps = 1 - rounded(p)
    assert means.tolist() == pytest.approx([keeps, keeps**2, keeps**2, keeps**2], abs=0.006)


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_gpus_that_are_not_here(capability: int) -> None:
    pytest.importorskip("triton", reason="the kernels are Triton's")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from bert_lightning.models.fused_pointwise import SHAPES

    halves = ("update", "residual", "added", "result", "gradient", "other_gradient", "d_update", "d_residual", "x")
    scalars = {"num_tokens": "i32", "eps": "fp32", "words": "*i32"}
    sizes = {"cutoff": 429522944, "has_other": True, "hidden": 768}
    for kernel, shape in SHAPES.items():
        width = 3072 if "gelu" in kernel.fn.__name__ else 1024
        fixed = {name: one for name, one in {**sizes, "width": width, **shape}.items() if name in kernel.arg_names}
        types = dict.fromkeys(halves, "*bf16") | scalars | dict.fromkeys(fixed, "constexpr")
        source = ASTSource(kernel, {name: types.get(name, "*fp32") for name in kernel.arg_names}, fixed)
        options = {"num_warps": shape["num_warps"]}
        made = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert len(made.asm["cubin"]) > 1000
