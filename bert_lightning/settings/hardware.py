"""What the machine has: accelerators, and the precisions that they compute in."""

import os
import re
from pathlib import Path

import torch

PRECISIONS = ("auto", "32-true", "bf16-mixed", "fp8")
ISAS_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of oneDNN's variable that let it use no instructions for bf16."""


def find_accelerator(name: str, key: str = "trainer.accelerator") -> str:
    """Return "gpu" or "cpu"; auto takes a GPU if there is one.

    Raises:
        ValueError: if the name is unknown, or torch finds no GPU.
    """
    if name not in ("auto", "cpu", "gpu"):
        raise ValueError(f"{key}={name} is not one of auto, cpu, gpu")
    if name == "gpu" and not torch.cuda.is_available():
        raise ValueError(f"{key}=gpu, but torch finds no GPU")
    return "gpu" if name != "cpu" and torch.cuda.is_available() else "cpu"


def device_type(accelerator: str) -> str:
    """Return torch's word for an accelerator.

    >>> device_type("gpu"), device_type("cpu")
    ('cuda', 'cpu')
    """
    return "cuda" if accelerator == "gpu" else "cpu"


def resolve_precision(precision: str, accelerator: str, key: str = "trainer.precision") -> str:
    """Return the precision; auto is bf16-mixed if the hardware multiplies bf16, else 32-true.

    What fp8 needs besides is checked by `float8`.

    Raises:
        ValueError: if the word is unknown or the GPU cannot do it.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"{key}={precision} is not one of {', '.join(PRECISIONS)}")
    on_gpu = accelerator == "gpu"
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_multiplies_bf16()
    if on_gpu and precision == "bf16-mixed" and not fast:
        raise ValueError(f"{key}=bf16-mixed, but {torch.cuda.get_device_name()} has no bf16; take 32-true")
    return ("bf16-mixed" if fast else "32-true") if precision == "auto" else precision


def lightning_precision(precision: str) -> str:
    """Return Lightning's word for a precision: fp8 is bf16-mixed with 8-bit matrix products."""
    return "bf16-mixed" if precision == "fp8" else precision


def cpu_multiplies_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether bf16 matrix instructions are there and not switched off; without them bf16 is slower than fp32."""
    is_limited = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in ISAS_WITHOUT_BF16
    if not cpuinfo.exists() or is_limited or torch.backends.cpu.get_cpu_capability() == "AVX2":
        return False
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", cpuinfo.read_text(encoding="utf-8")))
