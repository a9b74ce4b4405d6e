"""What the machine can do decides the precision that auto means."""

from pathlib import Path

import pytest
import torch

from bert_lightning.settings import hardware
from bert_lightning.settings.hardware import cpu_multiplies_bf16, resolve_precision


def test_auto_precision_asks_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for flags, fast in (("avx2 avx512f", False), ("avx512f avx512_bf16", True), ("amx_tile amx_bf16", True)):
        (tmp_path / "cpuinfo").write_text(f"processor: 0\nflags: fpu {flags} sse\n")
        assert cpu_multiplies_bf16(tmp_path / "cpuinfo") is fast
    assert not cpu_multiplies_bf16(tmp_path / "nothing")
    with monkeypatch.context() as limited:
        limited.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
        assert not cpu_multiplies_bf16(tmp_path / "cpuinfo")
    with monkeypatch.context() as limited:
        limited.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
        assert not cpu_multiplies_bf16(tmp_path / "cpuinfo")
    assert cpu_multiplies_bf16(tmp_path / "cpuinfo")
    for fast, word in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(hardware, "cpu_multiplies_bf16", lambda fast=fast: fast)
        assert resolve_precision("auto", "cpu") == word
        assert resolve_precision("32-true", "cpu") == "32-true"
        assert resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"
