"""The attention kernels of GPUs, run by Triton's interpreter on a CPU and compiled for GPUs that are not here."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bert_lightning.models.dropout import rounded
from bert_lightning.models.looped_attention import looped_attention
from tests.models.interpreted import run_interpreted

LENGTHS = (70, 1, 0, 101, 64)
SHAPES = {"2 heads of 16": (2, 16, 0.0), "1 head of 64": (1, 64, 0.0), "scores far below 0": (2, 16, 25.0)}
"""Heads, head dimension, and what all keys are moved by, which softmax does not see."""
CASES = [*((shape, 0.0) for shape in SHAPES), ("2 heads of 16", 0.5), ("1 head of 64", 0.1)]
PERIOD, QUERY_MULTIPLIER, KEY_MULTIPLIER = 32, 2396548189, 1099087573


PROGRAM = """
import sys, torch
from bert_lightning.models.fused_attention import draw_words, fused_attention

results = []
for qkv, offsets, dropout_p, gradient in torch.load(sys.argv[1]):
    leaf, longest = qkv.requires_grad_(), int(offsets.diff().max())
    torch.manual_seed(0)
    context = fused_attention(leaf, offsets, longest, dropout_p)
    torch.manual_seed(0)
    words = draw_words(leaf, len(offsets) - 1 if dropout_p else 0)
    results.append((context.detach(), torch.autograd.grad(context, leaf, gradient)[0], words))
torch.save(results, sys.argv[2])
"""


class Case(NamedTuple):
    """Inputs of one call; see `fused_attention`."""

    qkv: Tensor
    offsets: Tensor
    dropout_p: float
    gradient: Tensor


class Outcome(NamedTuple):
    """Context, gradient of `qkv`, and the words that the same seed draws."""

    context: Tensor
    qkv_gradient: Tensor
    words: Tensor


def make_case(num_heads: int, head_dim: int, key_shift: float, dropout_p: float) -> Case:
    torch.manual_seed(1)
    offsets = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32)
    qkv = torch.randn(int(offsets[-1]), 3, num_heads, head_dim)
    if key_shift:
        qkv[:, 0] += 1
        qkv[:, 1] -= key_shift
    return Case(qkv, offsets, dropout_p, torch.randn(len(qkv), num_heads, head_dim))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, float], tuple[Case, Outcome]]:
    """All cases, from one process."""
    folder = tmp_path_factory.mktemp("interpreted")
    cases = {key: make_case(*SHAPES[key[0]], key[1]) for key in CASES}
    results = [Outcome(*each) for each in run_interpreted(PROGRAM, [tuple(case) for case in cases.values()], folder)]
    return dict(zip(cases, zip(cases.values(), results, strict=True), strict=True))


def words_of(drawn: Tensor, length: int, multiplier: int) -> Tensor:
    """The words of a sequence, (heads, length), by the rule in words: those of a period before, times a multiplier."""
    rows = []
    for head in drawn.tolist():
        words = [word % 2**32 | 1 for word in head]
        while len(words) < length:
            words.append(words[-PERIOD] * multiplier % 2**32)
        rows.append(words[:length])
    return torch.tensor(rows, dtype=torch.int64)


def masks(case: Case, words: Tensor) -> list[Tensor]:
    """What dropout keeps of each sequence, (heads, length, length)."""
    cutoff = round(rounded(case.dropout_p) * 2**32)
    found = []
    for sequence, length in enumerate(LENGTHS):
        query = words_of(words[sequence, :, 0], length, QUERY_MULTIPLIER)
        key = words_of(words[sequence, :, 1], length, KEY_MULTIPLIER)
        low, high = key & 0xFFFF, key >> 16  # int64 has no room for 32 times 32 bits
        product = query[:, :, None] * low[:, None] + ((query[:, :, None] * high[:, None] & 0xFFFF) << 16)
        found.append(product % 2**32 >= cutoff)
    return found


def attend_with(case: Case, kept: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Context and gradient of plain attention with given masks."""
    leaf = case.qkv.clone().requires_grad_()
    contexts = []
    for sequence, (begin, end) in enumerate(zip(case.offsets[:-1], case.offsets[1:], strict=True)):
        query, key, value = leaf[begin:end].permute(1, 2, 0, 3)
        weights = torch.softmax(query @ key.mT * query.shape[-1] ** -0.5, -1)
        scaled = weights * kept[sequence] / (1 - rounded(case.dropout_p))
        contexts.append((scaled @ value).transpose(0, 1))
    context = torch.cat(contexts)
    return context.detach(), torch.autograd.grad(context, leaf, case.gradient)[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_without_dropout_the_kernels_equal_plain_attention(outcomes: Any, shape: str) -> None:
    case, found = outcomes[shape, 0.0]
    leaf = case.qkv.clone().requires_grad_()
    context = looped_attention(leaf, case.offsets, max(LENGTHS), 0.0)
    (gradient,) = torch.autograd.grad(context, leaf, case.gradient)
    rounding = 100 if SHAPES[shape][2] else 1  # of scores that are a hundred times as large
    torch.testing.assert_close(found.context, context.detach(), atol=2e-6 * rounding, rtol=1e-5 * rounding)
    torch.testing.assert_close(found.qkv_gradient, gradient, atol=5e-6 * rounding, rtol=1e-5 * rounding)


@pytest.mark.parametrize(("shape", "dropout_p"), CASES[3:])
def test_dropout_keeps_what_the_words_say_forward_and_backward(outcomes: Any, shape: str, dropout_p: float) -> None:
    case, found = outcomes[shape, dropout_p]
    context, gradient = attend_with(case, masks(case, found.words))
    torch.testing.assert_close(found.context, context, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(found.qkv_gradient, gradient, atol=1e-5, rtol=1e-5)


def test_decisions_are_as_good_as_independent() -> None:
    """Means, sums over rows and columns, and products of the four corners of rectangles behave like coin tosses."""
    torch.manual_seed(0)
    length, rounds, p = 256, 200, 0.1
    deviation = (p * (1 - p)) ** 0.5
    sums, corners = [], []
    for _ in range(rounds):
        words = torch.randint(-(2**31), 2**31, (1, 2, PERIOD))
        query = words_of(words[:, 0], length, QUERY_MULTIPLIER)[0]
        key = words_of(words[:, 1], length, KEY_MULTIPLIER)[0]
        low, high = key & 0xFFFF, key >> 16
        product = (query[:, None] * low + ((query[:, None] * high & 0xFFFF) << 16)) % 2**32
        kept = ((product >= round(rounded(p) * 2**32)).double() - (1 - rounded(p))) / deviation
        sums.append(torch.cat([kept.sum(0), kept.sum(1)]) / length**0.5)
        corners.append(
            [
                (kept[:-gap, :-gap] * kept[gap:, :-gap] * kept[:-gap, gap:] * kept[gap:, gap:]).mean()
                for gap in (1, 32, 64)
            ]
        )
    assert torch.cat(sums).var() == pytest.approx(1, abs=0.03)
    assert torch.cat(sums).mean() == pytest.approx(0, abs=0.02)
    assert torch.tensor(corners).mean(0).abs().max() < 0.005


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_gpus_that_are_not_here(capability: int) -> None:
    pytest.importorskip("triton", reason="the kernels are Triton's")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from bert_lightning.models.fused_attention import SHAPES as BLOCKS

    for kernel, block in BLOCKS.items():
        fixed = {
            "cutoff": 429522944,
            "num_heads": 12,
            "head_dim": 64,
            "rows": block["rows"],
            "columns": block["columns"],
        }
        types = {"num_tokens": "i32", "scale": "fp32", "cu_seqlens": "*i32", "words": "*i32"}
        types |= {"log_sums": "*fp32", "row_sums": "*fp32"} | dict.fromkeys(fixed, "constexpr")
        source = ASTSource(kernel, {name: types.get(name, "*bf16") for name in kernel.arg_names}, fixed)
        options = {"num_warps": block["num_warps"], "num_stages": block["num_stages"]}
        made = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert len(made.asm["cubin"]) > 1000
