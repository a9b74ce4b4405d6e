"""Packed attention against attention computed by hand, sequence by sequence."""

import inspect
import itertools
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

from bert_lightning.models.attention import (
    PackedAttention,
    choose_attention,
    flash_attention,
    padded_attention,
    varlen_attention,
)
from bert_lightning.models.looped_attention import _groups, looped_attention

# Offsets of ragged sequences, of empty ones in between, and of the filler and the empty ones that end a batch.
RAGGED = [[0, 7], [0, 3, 4, 11], [0, 5, 5, 9, 9], [0, 0, 6], [0, 4, 9, 12, 12, 12]]


# Causal, local, local and causal, narrow, and wider than any sequence.
WINDOWS = [(-1, 0), (2, 2), (3, 0), (0, 1), (20, 20)]


def by_hand(qkv: Tensor, ends: list[int], window: tuple[int, int] = (-1, -1)) -> Tensor:
    parts = []
    before, after = (side if side >= 0 else 10**6 for side in window)
    for begin, end in itertools.pairwise(ends):
        q, k, v = qkv[begin:end].permute(1, 2, 0, 3)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        hidden = [[not -before <= key - query <= after for key in range(end - begin)] for query in range(end - begin)]
        weights = scores.masked_fill(torch.tensor(hidden, dtype=torch.bool).view(scores.shape[1:]), -torch.inf).softmax(
            -1
        )
        parts.append((weights @ v).transpose(0, 1))
    return torch.cat(parts)


def random_heads(tokens: int) -> Tensor:
    """Query, key and value of the fused projection, (tokens, 3, heads, head_dim)."""
    torch.manual_seed(0)
    return torch.randn(tokens, 3, 2, 4, requires_grad=True)


@pytest.mark.parametrize("attention", [looped_attention, padded_attention])
@pytest.mark.parametrize("ends", RAGGED)
def test_values_and_gradients_are_those_of_attention_by_hand(ends: list[int], attention: PackedAttention) -> None:
    offsets = torch.tensor(ends, dtype=torch.int32)
    results = []
    for attend in (lambda qkv: attention(qkv, offsets, 8, 0.0), lambda qkv: by_hand(qkv, ends)):
        qkv = random_heads(ends[-1])
        out = attend(qkv)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append([out, qkv.grad])
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("attention", [looped_attention, padded_attention])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("ends", RAGGED)
def test_windows_are_exact_on_packed_sequences(
    ends: list[int], window: tuple[int, int], attention: PackedAttention
) -> None:
    """Also where a whole sequence is shorter than its window, and no gradient is lost to rows of padding."""
    offsets = torch.tensor(ends, dtype=torch.int32)
    results = []
    for attend in (lambda qkv: attention(qkv, offsets, 8, 0.0, window), lambda qkv: by_hand(qkv, ends, window)):
        qkv = random_heads(ends[-1])
        out = attend(qkv)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append([out, qkv.grad])
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-5)


def test_windows_are_never_given_to_the_fused_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bert_lightning.models.attention.find_spec", lambda name: name == "triton" or None)
    assert choose_attention("cuda", 0.0, True, 64, has_windows=True) is varlen_attention
    assert choose_attention("cuda", 0.1, True, 64, has_windows=True) is flash_attention


@pytest.mark.parametrize("window", WINDOWS)
def test_the_operation_with_dropout_gets_the_window(window: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    signature = torch.ops.aten._flash_attention_forward.default._schema
    seen: dict[str, Any] = {}

    def operation(*args: Any, **kwargs: Any) -> tuple[Tensor]:
        names = [argument.name for argument in signature.arguments]
        seen.update(dict(zip(names, args, strict=False)) | kwargs)
        assert set(seen) <= set(names)
        return (args[0],)

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", operation)
    flash_attention(random_heads(11), torch.tensor([0, 3, 11], dtype=torch.int32), 8, 0.1, window)
    assert (seen["window_size_left"], seen["window_size_right"]) == window
    assert seen["is_causal"] == (window == (-1, 0))
    assert seen["dropout_p"] == 0.1


LOOPED = "bert_lightning.models.looped_attention"


@pytest.mark.parametrize(("most", "padding", "lengths"), [
    (1, 0, [3, 3, 3, 3, 2, 2]),
    (36, 0, [3, 3, 2]),
    (1 << 19, 0, [3, 2]),
    (1 << 19, 2 * 5, [3, 2]),
    (1 << 19, 2 * 2 * 5, [3]),
    (72, 2 * 5, [3, 2]),
])  # fmt: skip
@pytest.mark.parametrize("window", [(-1, -1), *WINDOWS])
def test_sequences_of_about_equal_length_attend_at_once_wherever_they_stand(
    most: int, padding: int, lengths: list[int], window: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side or apart, with and without padding: values and gradients are those of each sequence alone."""
    monkeypatch.setattr(f"{LOOPED}.GROUP_WEIGHTS", most)
    monkeypatch.setattr(f"{LOOPED}.PADDING_WEIGHTS", padding)
    _groups.cache_clear()
    ends = [0, 3, 6, 8, 11, 11, 13, 16]  # lengths 3, 3, 2, 3, 0, 2, 3
    assert [group.length for group in _groups(tuple(ends), 2, torch.device("cpu"))] == lengths
    test_windows_are_exact_on_packed_sequences(ends, window, looped_attention)
    _groups.cache_clear()


@pytest.mark.parametrize("ends", [[0, 8, 9], [0, 1, 9, 10], [0, 4, 12], [0, 3, 11, 14], [0, 40, 70, 71, 75, 80]])
def test_at_most_half_of_a_group_is_padding(ends: list[int]) -> None:
    """So the flat memory, which is given before the lengths are known, holds all weights."""
    groups = _groups(tuple(ends), 2, torch.device("cpu"))
    assert groups[-1].entries.stop <= 2 * ends[-1] * 2 * groups[0].length
    assert sum(len(group.slots) for group in groups) == ends[-1]
    for group in groups:
        assert group.is_real is None or group.is_real.numel() <= 2 * len(group.slots)


def test_groups_lie_on_the_device_of_the_batch() -> None:
    """So an encoder that was loaded for a CPU and moved to a GPU attends there."""
    (group, *_) = _groups((0, 3, 8, 11), 2, torch.device("meta"))
    assert isinstance(group.tokens, Tensor)
    assert group.is_real is not None
    assert {each.device.type for each in (group.tokens, group.is_real, group.slots)} == {"meta"}


@pytest.mark.parametrize("attention", [looped_attention, padded_attention])
def test_no_sequence_sees_another(attention: PackedAttention) -> None:
    offsets = torch.tensor([0, 3, 4, 11], dtype=torch.int32)
    qkv = random_heads(11).detach()
    before = attention(qkv, offsets, 8, 0.0)
    qkv[3:4, 1:] += 1
    after = attention(qkv, offsets, 8, 0.0)
    assert torch.equal(before[:3], after[:3])
    assert not torch.equal(before[3:4], after[3:4])
    assert torch.equal(before[4:], after[4:])


@pytest.mark.parametrize("attention", [looped_attention, padded_attention])
def test_dropout_drops_attention_and_keeps_its_mean(attention: PackedAttention) -> None:
    torch.manual_seed(0)
    qkv, offsets = torch.randn(6, 3, 2, 4), torch.tensor([0, 6])
    exact = attention(qkv, offsets, 6, 0.0)
    dropped = torch.stack([attention(qkv, offsets, 6, 0.5) for _ in range(4000)])
    assert not torch.equal(dropped[0], exact)
    deviation = dropped.std(0) / len(dropped) ** 0.5
    assert ((dropped.mean(0) - exact).abs() < 5 * deviation).all()


def test_gradients_with_dropout_are_those_of_the_same_noise() -> None:
    """Against finite differences: the same seed draws the same mask."""
    torch.manual_seed(1)
    qkv = torch.randn(7, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    offsets = torch.tensor([0, 4, 7, 7])

    def attend(leaf: Tensor) -> Tensor:
        torch.manual_seed(2)
        return looped_attention(leaf, offsets, 5, 0.3)

    assert torch.autograd.gradcheck(attend, (qkv,))


def test_the_operation_keeps_the_rules_of_the_compiler() -> None:
    """What it says about its outputs without values holds for those with values; nothing is changed in place."""
    arguments = (random_heads(11), torch.tensor([0, 3, 4, 11], dtype=torch.int32), 8, 0.0)
    rules = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.bert_lightning.attend_each.default, arguments, test_utils=rules)


@pytest.mark.parametrize(
    ("device_type", "dropout_p", "is_half_precision", "chosen"),
    [
        ("cpu", 0.0, True, looped_attention),
        ("cuda", 0.0, True, varlen_attention),
        ("cuda", 0.1, True, flash_attention),
        ("cuda", 0.0, False, padded_attention),
        ("cuda", 0.1, False, padded_attention),
    ],
)
def test_the_kernel_is_chosen_by_device_dropout_and_precision(
    device_type: str, dropout_p: float, is_half_precision: bool, chosen: object
) -> None:
    assert choose_attention(device_type, dropout_p, is_half_precision) is chosen


@pytest.mark.parametrize("dropout_p", [0.0, 0.1])
def test_fused_kernels_are_chosen_if_triton_is_there_and_the_head_dimension_fits(
    monkeypatch: pytest.MonkeyPatch, dropout_p: float
) -> None:
    fused = ModuleType("fused_attention")
    fused.fused_attention = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bert_lightning.models.fused_attention", fused)
    monkeypatch.setattr("bert_lightning.models.attention.find_spec", lambda name: name == "triton" or None)
    for head_dim, is_fused in ((8, False), (16, True), (48, False), (64, True), (128, False)):
        assert (choose_attention("cuda", dropout_p, True, head_dim) is fused.fused_attention) == is_fused
    monkeypatch.setattr("bert_lightning.models.attention.find_spec", lambda name: None)
    assert choose_attention("cuda", dropout_p, True, 64) is (flash_attention if dropout_p else varlen_attention)


@pytest.mark.parametrize("head_dim", [4, 12, 26, 260, 264])
def test_head_dimensions_that_the_kernels_refuse_are_padded_and_said(
    head_dim: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for dropout_p in (0.0, 0.1):
        assert choose_attention("cuda", dropout_p, False, head_dim) is padded_attention
        assert choose_attention("cpu", dropout_p, True, head_dim) is looped_attention
        assert not caplog.messages
        assert choose_attention("cuda", dropout_p, True, head_dim) is padded_attention
        assert f"num_attention_heads = {head_dim}: the fast attention kernels take multiples of 8" in caplog.text
        caplog.clear()
    assert choose_attention("cuda", 0.0, True, 256) is varlen_attention


def test_the_kernel_gets_its_arguments_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be told without a GPU: the installed torch takes our call, and each value lands in its place."""
    signature = inspect.signature(varlen.varlen_attn)
    seen: dict[str, Any] = {}

    def kernel(*args: Any, **kwargs: Any) -> Tensor:
        seen.update(signature.bind(*args, **kwargs).arguments)
        return args[0]

    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    qkv = random_heads(11).detach()
    offsets = torch.tensor([0, 3, 4, 11], dtype=torch.int32)
    varlen_attention(qkv, offsets, 8, 0.0, (3, 0))
    assert list(seen) == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k", "window_size"]
    assert seen["window_size"] == (3, 0)
    assert [seen[name].data_ptr() for name in ("query", "key", "value")] == [
        qkv[:, part].data_ptr() for part in range(3)
    ]
    assert seen["cu_seq_q"] is seen["cu_seq_k"] is offsets
    assert seen["max_q"] == seen["max_k"] == 8


def test_the_operation_with_dropout_takes_our_call() -> None:
    """Without a GPU: its arguments by name, and shapes forward and backward on the meta device."""
    schema = torch.ops.aten._flash_attention_forward.default._schema
    names = ["query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p", "is_causal"]
    assert [argument.name for argument in schema.arguments][:10] == [*names, "return_debug_mask"]
    qkv = torch.randn(64, 3, 4, 64, device="meta", dtype=torch.bfloat16, requires_grad=True)
    out = flash_attention(qkv, torch.zeros(5, dtype=torch.int32, device="meta"), 32, 0.1)
    assert out.shape == (64, 4, 64)
    out.sum().backward()
    assert qkv.grad is not None
    assert qkv.grad.shape == qkv.shape


def on_gpu(name: str) -> PackedAttention:
    """One of the functions that run on GPUs only; importing one may need Triton."""
    module = "fused_attention" if name == "fused" else "attention"
    return cast(PackedAttention, getattr(import_module(f"bert_lightning.models.{module}"), f"{name}_attention"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["varlen", "flash", "fused"])
def test_one_kernel_equals_the_loop_on_a_gpu(name: str) -> None:
    attention = on_gpu(name)
    torch.manual_seed(0)
    offsets = torch.tensor([0, 20, 21, 50, 64, 64, 64], dtype=torch.int32, device="cuda")
    qkv = torch.randn(64, 3, 4, 64, device="cuda", dtype=torch.bfloat16)
    results = []
    for attend in (attention, looped_attention):
        leaf = qkv.clone().requires_grad_()
        out = attend(leaf, offsets, 32, 0.0)
        out.float().square().sum().backward()
        results.append((out, leaf.grad))
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, atol=2e-2, rtol=2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("window", [(-1, 0), (4, 4), (4, 0), (100, 100)])
@pytest.mark.parametrize("name", ["varlen", "flash", "padded"])
def test_windows_of_one_kernel_equal_those_of_the_loop_on_a_gpu(name: str, window: tuple[int, int]) -> None:
    attention = on_gpu(name)
    torch.manual_seed(0)
    offsets = torch.tensor([0, 20, 21, 50, 64, 64, 64], dtype=torch.int32, device="cuda")
    qkv = torch.randn(64, 3, 4, 64, device="cuda", dtype=torch.bfloat16)
    results = []
    for attend in (attention, looped_attention):
        leaf = qkv.clone().requires_grad_()
        out = attend(leaf, offsets, 32, 0.0, window)
        out.float().square().sum().backward()
        results.append((out, leaf.grad))
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, atol=2e-2, rtol=2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["flash", "fused"])
def test_dropout_in_the_kernel_keeps_the_mean_on_a_gpu(name: str) -> None:
    attention = on_gpu(name)
    torch.manual_seed(0)
    offsets = torch.tensor([0, 20, 64], dtype=torch.int32, device="cuda")
    qkv = torch.randn(64, 3, 4, 64, device="cuda", dtype=torch.bfloat16)
    exact = attention(qkv, offsets, 64, 0.0).float()
    dropped = torch.stack([attention(qkv, offsets, 64, 0.1).float() for _ in range(2000)])
    assert not torch.equal(dropped[0], dropped[1])
    deviation = dropped.std(0) / len(dropped) ** 0.5
    assert ((dropped.mean(0) - exact).abs() < 6 * deviation + 0.01).all()
