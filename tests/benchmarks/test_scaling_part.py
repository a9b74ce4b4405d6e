"""The scaling part of bert-benchmark: counts that are exact, and formulas that the kernel's count agrees with."""

import dataclasses
import doctest
import json
import socket
from pathlib import Path

import pytest

from bert_lightning.benchmarks import traffic
from bert_lightning.benchmarks.model_batches import ExampleSource
from bert_lightning.benchmarks.scaling_part import ScalingPart
from bert_lightning.benchmarks.sent_bytes import sent_bytes
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from tests.support.checkout import run_command
from tests.support.contestants import HALF, SETTING


def test_formulas() -> None:
    assert doctest.testmod(traffic).failed == 0


def test_the_kernel_counts_what_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        connection, _ = server.accept()
        with connection:
            before = sent_bytes()
            for number in (1, 1000, 12_345):
                client.sendall(b"x" * number)
                while number:
                    number -= len(connection.recv(number))
            assert sent_bytes() - before == 13_346
            connection.sendall(b"y")
            assert client.recv(1) == b"y"
            assert sent_bytes() - before == 13_347


@pytest.mark.slow
def test_ranks_send_what_the_formulas_say(tmp_path: Path) -> None:
    done = run_command(
        "benchmark",
        "part=scaling",
        "model=bert_tiny",
        "model.hidden_size=64",
        "model.vocab_size=8000",
        "data.seq_len=32",
        "data.micro_batch_size=2",
        "precision=bf16-mixed",
        "part.steps=2",
        "part.repeats=1",
        "output=figures.json",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    time, sent, facts = json.loads((tmp_path / "figures.json").read_text())["tables"].values()
    for row in time:
        assert 0 < row["lowest ms"] <= row["step ms"] <= row["highest ms"]
    assert [row["way"] for row in time[:2]] == ["each for itself"] * 2
    ways = [(row["way"], row["micro-batches"]) for row in sent]
    assert ("DDP", 4) in ways
    assert ("FSDP2", 4) in ways
    for row in sent:
        assert row["sent"] == pytest.approx(row["formula as gloo does it"], rel=0.02), row
    whole = next(row["value"] for row in facts if row["fact"] == "gradients in fp32, MB")
    by_way = {(row["way"], row["micro-batches"]): row["formula"] for row in sent}
    assert by_way["DDP", 1] == by_way["DDP", 4] == pytest.approx(whole)
    assert by_way["DDP, bf16 gradients", 1] == pytest.approx(whole / 2)
    assert by_way["FSDP2", 4] > 2 * by_way["FSDP2", 1]


@pytest.mark.parametrize(
    ("accelerator", "ranks", "message"),
    [
        ("cpu", 1, "part.ranks must be .* at least 2; got 1"),
        ("gpu", 2, "between processes on CPUs, not accelerator=gpu"),
    ],
)
def test_settings_that_measure_nothing_are_refused(accelerator: str, ranks: int, message: str) -> None:
    setting = dataclasses.replace(SETTING, accelerator=accelerator)
    source = ExampleSource(None, SegmentPairs(), TokenMasking(), HALF, 40, 2, 1000, 0)
    with pytest.raises(ValueError, match=message):
        ScalingPart(setting, source, ranks)
