"""What a device can do at most, from its data sheet or measured, and how large a model is."""

import time

import torch
from torch import nn

# Dense bf16 FLOP/s of the data sheets (without sparsity), by a part of the device's name.
DATASHEET_PEAKS = {
    "B200": 2250e12,
    "H200": 989.5e12,
    "H100 PCIe": 756e12,
    "H100": 989.5e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A10": 125e12,
    "L4": 121e12,
    "V100": 125e12,
}


def datasheet_peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Return the operations per second that the data sheet promises in bf16; None for a device that is not listed."""
    if device.type != "cuda" or dtype != torch.bfloat16:
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in DATASHEET_PEAKS.items() if part in name), None)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the most operations per second: from the data sheet where the device is known in bf16, else measured."""
    return datasheet_peak_flops(device, dtype) or measured_peak_flops(device, dtype)


def measured_peak_flops(device: torch.device, dtype: torch.dtype, size: int | None = None, repeats: int = 8) -> float:
    """Return the operations per second of the fastest of a few square matrix products; takes under half a second.

    Args:
        device: Where.
        dtype: Of the factors.
        size: Rows and columns; None: 8192 on a GPU, 1024 elsewhere, large enough to fill it.
        repeats: Products on random values; the fastest counts.
    """
    size = size or (8192 if device.type == "cuda" else 1024)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):  # the first one loads the kernel
        begin = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters, a tied table once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
