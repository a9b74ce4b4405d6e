"""What a device can do at most, from its data sheet or measured, and how large a model is."""

import time

import torch
from torch import nn

# Dense bf16 FLOP/s of NVIDIA's data sheets (without sparsity), by the whole name of the device: variants of one chip
# differ, and a MIG slice is a part of one. Devices that are not listed are measured.
DATASHEET_PEAKS = {
    "NVIDIA B200": 2250e12,
    "NVIDIA H200": 989.5e12,
    "NVIDIA H200 NVL": 835.5e12,
    "NVIDIA H100 80GB HBM3": 989.5e12,
    "NVIDIA H100 NVL": 835.5e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L40": 181e12,
    "NVIDIA A10": 125e12,
    "NVIDIA L4": 121e12,
}


def datasheet_peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Return the operations per second that the data sheet promises in bf16; None if the device is not listed."""
    if device.type != "cuda" or dtype != torch.bfloat16:
        return None
    return DATASHEET_PEAKS.get(torch.cuda.get_device_name(device))


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the most operations per second: from the data sheet for listed devices in bf16, else measured."""
    return datasheet_peak_flops(device, dtype) or measured_peak_flops(device, dtype)


def measured_peak_flops(device: torch.device, dtype: torch.dtype, size: int | None = None, repeats: int = 8) -> float:
    """Return the operations per second of the fastest of a few square matrix products; takes under half a second.

    Args:
        device: Device to measure.
        dtype: Precision of the factors.
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
