"""Scores in chunks: the same losses, right answers and gradients as with all scores at once, and less memory."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from bert_lightning.models.heads import MaskedLMHead
from bert_lightning.models.linear_cross_entropy import chunked_cross_entropy
from data_pipeline.records import NO_LABEL
from tests.support.parity import CONFIG, gradients

ROWS = 37


def learn(chunk_rows: int | None, autocast: bool = False) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Loss, right answers and all gradients, those of the table and the hidden states too."""
    torch.manual_seed(0)
    head = MaskedLMHead(CONFIG, chunk_rows)
    table, hidden = torch.randn(128, 32, requires_grad=True), torch.randn(ROWS, 32, requires_grad=True)
    labels = torch.randint(0, CONFIG.vocab_size, (ROWS,), dtype=torch.int32)
    labels[5:9] = NO_LABEL
    with torch.no_grad():  # so that some are right
        head.bias[labels[:5].long()] += 3
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss, right = head(hidden, table, labels)
    (0.25 * loss).backward()
    return loss, right, gradients(head) | {"table": table.grad, "hidden": hidden.grad}


@pytest.mark.parametrize("chunk_rows", [1, 8, ROWS, 1000])
def test_chunks_change_nothing(chunk_rows: int) -> None:
    (loss, right, found), (expected_loss, expected_right, expected) = learn(chunk_rows), learn(None)
    torch.testing.assert_close(loss, expected_loss)
    assert right == expected_right > 0
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
    assert (found["table"][CONFIG.vocab_size :] == 0).all()


def test_gradients_of_the_table_are_summed_in_fp32_under_autocast() -> None:
    (_, _, exact), (loss, _, plain), (chunked_loss, _, chunked) = learn(None), learn(None, True), learn(4, True)
    torch.testing.assert_close(chunked_loss, loss, rtol=1e-2, atol=0)
    assert chunked_loss.dtype == torch.float32
    for name, gradient in exact.items():
        assert chunked[name].dtype == torch.float32
        assert (chunked[name] - gradient).norm() <= 1.2 * (plain[name] - gradient).norm() + 1e-6, name


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    head, table, hidden = MaskedLMHead(CONFIG, 8), torch.randn(128, 32), torch.randn(ROWS, 32)
    labels = torch.zeros(ROWS, dtype=torch.int32)
    with torch.no_grad():
        loss, _ = head(hidden, table, labels)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, head(hidden, table, labels)[0])


def test_the_operation_keeps_the_rules_of_the_compiler() -> None:
    operation = torch.ops.bert_lightning.chunked_cross_entropy.default
    tensors = [torch.randn(*shape, requires_grad=True) for shape in ((9, 4), (16, 4), (16,))]
    arguments = (*tensors, torch.randint(0, 16, (9,)), 4)
    torch.library.opcheck(operation, (*arguments, True), test_utils=("test_schema", "test_faketensor"))
    torch.library.opcheck(operation, (*arguments, False), test_utils=("test_schema", "test_faketensor"))


MEMORY = """
import sys, torch
from bert_lightning.benchmarks.peak_memory import peak_growth
from tests.models.test_linear_cross_entropy import big
big(64)(); big(None)()
for chunk_rows in (None, 64):
    step = big(chunk_rows)
    with peak_growth(torch.device("cpu")) as growth:
        step()
    print(growth.num_bytes or 0)
"""


def big(chunk_rows: int | None) -> object:
    """A loss over 1024 rows of 20,000 scores: 82 MB each time they are written down in fp32."""
    features, table, bias = torch.randn(1024, 16), torch.randn(20_000, 16, requires_grad=True), torch.zeros(20_000)
    labels = torch.randint(0, 20_000, (1024,))

    def step() -> None:
        if chunk_rows is None:
            scores = torch.nn.functional.linear(features, table, bias)
            torch.nn.functional.cross_entropy(scores, labels, reduction="sum").backward()
        else:
            chunked_cross_entropy(features, table, bias, labels, chunk_rows)[0].backward()

    return step


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_chunks_hold_a_fraction_of_the_scores() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=120)
    plain, chunked = map(int, done.stdout.split())
    if not plain:
        pytest.skip("the peak cannot be reset here")
    assert plain > 150e6
    assert chunked < plain / 4


def test_a_wrong_number_is_named() -> None:
    with pytest.raises(ValueError, match=r"objective\.chunk_rows must be a whole number, at least 1, or null; got 0"):
        MaskedLMHead(CONFIG, 0)
