"""Packed attention against attention computed by hand, sequence by sequence."""

import pytest
import torch

from bert_lightning.attention import choose_attention, sdpa_attention, varlen_attention


def by_hand(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ends: list[int]) -> torch.Tensor:
    parts = []
    for begin, end in zip(ends, ends[1:], strict=False):
        q, k, v = (tensor[begin:end].transpose(0, 1) for tensor in (query, key, value))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        parts.append((weights @ v).transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("ends", [[0, 7], [0, 3, 4, 11], [0, 5, 5, 9, 9]])
def test_sequences_attend_to_themselves_only(ends: list[int]) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, ends[-1], 2, 4).unbind(0)
    out = sdpa_attention(query, key, value, torch.tensor(ends, dtype=torch.int32), 8, 0.0)
    torch.testing.assert_close(out, by_hand(query, key, value, ends))
    value[: ends[1]] += 1
    changed = sdpa_attention(query, key, value, torch.tensor(ends, dtype=torch.int32), 8, 0.0)
    assert torch.equal(out[ends[1] :], changed[ends[1] :])


def test_dropout_drops() -> None:
    query = torch.randn(6, 2, 4)
    cu_seqlens = torch.tensor([0, 6])
    dropped = sdpa_attention(query, query, query, cu_seqlens, 6, 0.5)
    assert not torch.equal(dropped, sdpa_attention(query, query, query, cu_seqlens, 6, 0.0))


def test_the_kernel_is_chosen_by_device_and_dropout() -> None:
    assert choose_attention("cpu", 0.0) is sdpa_attention
    assert choose_attention("cuda", 0.1) is sdpa_attention
    assert choose_attention("cuda", 0.0) is varlen_attention


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_varlen_equals_sdpa_on_a_gpu() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 50, 4, 64, device="cuda", dtype=torch.bfloat16).unbind(0)
    cu_seqlens = torch.tensor([0, 20, 21, 50], dtype=torch.int32, device="cuda")
    torch.testing.assert_close(
        varlen_attention(query, key, value, cu_seqlens, 32, 0.0),
        sdpa_attention(query, key, value, cu_seqlens, 32, 0.0),
        atol=2e-2,
        rtol=2e-2,
    )
