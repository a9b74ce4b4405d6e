"""Packed attention against attention computed by hand, sequence by sequence."""

import inspect
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

from bert_lightning.attention import choose_attention, sdpa_attention, varlen_attention

# Offsets of ragged sequences, of empty ones in between, and of the filler and the empty ones that end a batch.
RAGGED = [[0, 7], [0, 3, 4, 11], [0, 5, 5, 9, 9], [0, 0, 6], [0, 4, 9, 12, 12, 12]]


def by_hand(query: Tensor, key: Tensor, value: Tensor, ends: list[int]) -> Tensor:
    parts = []
    for begin, end in itertools.pairwise(ends):
        q, k, v = (tensor[begin:end].transpose(0, 1) for tensor in (query, key, value))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        parts.append((weights @ v).transpose(0, 1))
    return torch.cat(parts)


def random_heads(tokens: int) -> list[Tensor]:
    """Query, key and value as the fused projection gives them: views of one tensor, (tokens, heads, head_dim)."""
    torch.manual_seed(0)
    return [part.detach().requires_grad_() for part in torch.randn(tokens, 3, 2, 4).unbind(1)]


@pytest.mark.parametrize("ends", RAGGED)
def test_values_and_gradients_are_those_of_attention_by_hand(ends: list[int]) -> None:
    offsets = torch.tensor(ends, dtype=torch.int32)
    results = []
    for attend in (lambda *heads: sdpa_attention(*heads, offsets, 8, 0.0), lambda *heads: by_hand(*heads, ends)):
        heads = random_heads(ends[-1])
        out = attend(*heads)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append([out, *(head.grad for head in heads)])
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-5)


def test_no_sequence_sees_another() -> None:
    offsets = torch.tensor([0, 3, 4, 11], dtype=torch.int32)
    query, key, value = (head.detach() for head in random_heads(11))
    before = sdpa_attention(query, key, value, offsets, 8, 0.0)
    key[3:4] += 1
    value[3:4] += 1
    after = sdpa_attention(query, key, value, offsets, 8, 0.0)
    assert torch.equal(before[:3], after[:3])
    assert not torch.equal(before[3:4], after[3:4])
    assert torch.equal(before[4:], after[4:])


def test_dropout_drops_attention_and_keeps_its_mean() -> None:
    torch.manual_seed(0)
    query, offsets = torch.randn(6, 2, 4), torch.tensor([0, 6])
    exact = sdpa_attention(query, query, query, offsets, 6, 0.0)
    dropped = torch.stack([sdpa_attention(query, query, query, offsets, 6, 0.5) for _ in range(4000)])
    assert not torch.equal(dropped[0], exact)
    deviation = dropped.std(0) / len(dropped) ** 0.5
    assert ((dropped.mean(0) - exact).abs() < 5 * deviation).all()


@pytest.mark.parametrize(
    ("device_type", "dropout_p", "is_half_precision", "chosen"),
    [
        ("cpu", 0.0, True, sdpa_attention),
        ("cuda", 0.0, True, varlen_attention),
        ("cuda", 0.1, True, sdpa_attention),
        ("cuda", 0.0, False, sdpa_attention),
    ],
)
def test_the_kernel_is_chosen_by_device_dropout_and_precision(
    device_type: str, dropout_p: float, is_half_precision: bool, chosen: object
) -> None:
    assert choose_attention(device_type, dropout_p, is_half_precision) is chosen


def test_the_kernel_gets_its_arguments_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be told without a GPU: the installed torch takes our call, and each value lands in its place."""
    signature = inspect.signature(varlen.varlen_attn)
    seen: dict[str, Any] = {}

    def kernel(*args: Any, **kwargs: Any) -> Tensor:
        seen.update(signature.bind(*args, **kwargs).arguments)
        return args[0]

    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    query, key, value = random_heads(11)
    offsets = torch.tensor([0, 3, 4, 11], dtype=torch.int32)
    assert varlen_attention(query, key, value, offsets, 8, 0.0) is query
    expected = [query, key, value, offsets, offsets, 8, 8]
    assert list(seen) == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    assert all(own is other for own, other in zip(seen.values(), expected, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_varlen_equals_sdpa_on_a_gpu() -> None:
    torch.manual_seed(0)
    offsets = torch.tensor([0, 20, 21, 50, 64, 64, 64], dtype=torch.int32, device="cuda")
    qkv = torch.randn(64, 3, 4, 64, device="cuda", dtype=torch.bfloat16)
    results = []
    for attend in (varlen_attention, sdpa_attention):
        leaf = qkv.clone().requires_grad_()
        out = attend(*leaf.unbind(1), offsets, 32, 0.0)
        out.float().square().sum().backward()
        results.append((out, leaf.grad))
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, atol=2e-2, rtol=2e-2)
