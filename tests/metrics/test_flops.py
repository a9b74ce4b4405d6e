"""The FLOP formula against published figures, and peaks that are plausible."""

import doctest
from dataclasses import replace

import pytest
import torch

from bert_lightning.metrics.flops import datasheet_peak_flops, measured_peak_flops, parameter_count, peak_flops
from bert_lightning.models import useful_flops
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.models.useful_flops import step_flops

BASE = EncoderConfig(
    vocab_size=30528,
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    max_position_embeddings=512,
)
LARGE = replace(BASE, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)


def test_examples() -> None:
    assert doctest.testmod(useful_flops).failed == 0


@pytest.mark.parametrize(
    ("config", "length", "gigaflops"),
    [(BASE, 128, 0.545), (BASE, 512, 0.588), (LARGE, 128, 1.879), (LARGE, 512, 1.992)],
)
def test_full_rows_cost_what_is_published(config: EncoderConfig, length: int, gigaflops: float) -> None:
    per_token = step_flops(config, length, length**2, 0.15 * length) / length / 1e9
    assert per_token == pytest.approx(gigaflops, abs=0.0006)


def test_deepspeeds_rate_comes_out() -> None:
    """272 sequences/s of 128 tokens on a V100 is 64 TFLOP/s by their count, 65.4 by this one."""
    assert 272 * step_flops(LARGE, 128, 128**2, 0.15 * 128) / 1e12 == pytest.approx(65.4, abs=0.1)


def test_the_linear_part_is_six_operations_per_weight_of_the_layers() -> None:
    layers = 12 * 12 * 768**2
    assert step_flops(BASE, 1, 0, 0) == 6 * layers


def test_attention_counts_squared_lengths_not_the_batch() -> None:
    packed = step_flops(BASE, 512, 4 * 128**2, 0)
    whole = step_flops(BASE, 512, 512**2, 0)
    assert whole - packed == pytest.approx(12 * 12 * 768 * (512**2 - 4 * 128**2))


def test_an_unknown_device_is_measured() -> None:
    assert 1e9 < measured_peak_flops(torch.device("cpu"), torch.float32, size=256) < 1e15
    assert 1e9 < peak_flops(torch.device("cpu"), torch.float32) < 1e15


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5e12),
        ("NVIDIA H100 NVL", 835.5e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", None),
        ("NVIDIA GB200", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_data_sheets_count_for_the_whole_name_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, peak: float | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert datasheet_peak_flops(torch.device("cuda"), torch.bfloat16) == peak
    assert datasheet_peak_flops(torch.device("cuda"), torch.float32) is None


def test_a_tied_table_is_counted_once() -> None:
    first, second = torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    assert parameter_count(torch.nn.Sequential(first, second)) == 9
