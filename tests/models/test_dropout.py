"""Dropout on CPUs: the right share is dropped, the mean stays, and gradients see the noise of the forward pass."""

import pytest
import torch

from bert_lightning.models.dropout import Dropout, dropout_mask, rounded


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_the_share_that_is_dropped(p: float) -> None:
    torch.manual_seed(0)
    size = 1_000_000
    dropped = 1 - dropout_mask(torch.empty(size), p).double().mean().item()
    assert abs(dropped - rounded(p)) < 5 * (p * (1 - p) / size) ** 0.5
    assert abs(rounded(p) - p) <= 2**-17


def test_every_bit_of_a_word_is_random() -> None:
    """Four elements share a draw; each of them, and each pair, is dropped independently."""
    torch.manual_seed(0)
    dropped = 1 - dropout_mask(torch.empty(400_000), 0.5).double().view(-1, 4)
    assert (dropped.mean(0) - 0.5).abs().max() < 0.008
    together = dropped.T @ dropped / len(dropped)
    assert (together - 0.25 - 0.25 * torch.eye(4)).abs().max() < 0.008


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_is_scaled_and_the_gradient_is_that_of_the_same_noise(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, residual = (torch.ones(40, 50, dtype=dtype, requires_grad=True) for _ in range(2))
    out = Dropout(0.1)(x, residual)
    kept = out != 1
    assert 0.8 < kept.float().mean() < 0.97
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 + 1 / 0.9))
    out.sum().backward()
    assert torch.equal(x.grad != 0, kept)
    torch.testing.assert_close(x.grad[kept], torch.full_like(x.grad[kept], 1 / 0.9))
    assert torch.equal(residual.grad, torch.ones_like(residual))


def test_alone_it_is_the_same_as_added_to_nothing() -> None:
    x, dropout = torch.randn(30, 20), Dropout(0.3)
    torch.manual_seed(0)
    alone = dropout(x)
    torch.manual_seed(0)
    torch.testing.assert_close(alone, dropout(x, torch.zeros_like(x)))


def test_the_seed_decides_and_nothing_happens_outside_training() -> None:
    x, dropout = torch.randn(30, 20), Dropout(0.3)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    third = dropout(x)
    torch.manual_seed(5)
    assert torch.equal(third, dropout(x))
    assert torch.equal(dropout.eval()(x, x), x + x)
    assert Dropout(0.0)(x) is x


def test_the_operation_keeps_the_rules_of_the_compiler() -> None:
    operation = torch.ops.bert_lightning.dropout_mask.default
    torch.library.opcheck(operation, (torch.ones(3, 5), 0.25), test_utils=("test_schema", "test_faketensor"))
