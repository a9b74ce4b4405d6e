"""Time the fused attention kernels beside torch's flash attention on a GPU, and the blocks that they could use.

PYTHONPATH=. python docs/benchmarks/attention_speed.py

Sequences are those of a micro-batch of BERT-large, 16 heads of 64. Times are medians, in ms, from device events.
"""

import itertools

import torch
from torch import Tensor
from triton.testing import do_bench

from bert_lightning.models import fused_attention as fused
from bert_lightning.models.attention import flash_attention, varlen_attention

HEADS, HEAD_DIM = 16, 64
BATCHES = {
    "512, MLPerf's lengths": (512, 128, False),
    "128, MLPerf's lengths": (128, 512, False),
    "2048, full rows": (2048, 16, True),
}
BLOCKS = {
    fused.forward_kernel: ("rows", [(64, 64, 4, 2), (128, 64, 4, 3), (128, 32, 4, 3), (128, 64, 8, 3)]),
    fused.query_kernel: ("rows", [(64, 32, 4, 3), (64, 64, 4, 3), (64, 64, 4, 2), (128, 64, 8, 2)]),
    fused.key_value_kernel: ("columns", [(32, 64, 4, 2), (32, 64, 4, 3), (64, 64, 4, 2), (64, 128, 8, 2)]),
}
"""Candidates: queries and keys of a block, warps, stages."""


def batch(longest: int, num_sequences: int, is_full: bool) -> tuple[Tensor, Tensor]:
    """Return heads, (tokens, 3, heads, head_dim), and offsets; a tenth of the sequences is full unless all are."""
    torch.manual_seed(1)
    share = torch.rand(num_sequences)
    lengths = torch.where((share < 0.1) | is_full, longest, share * 0.9 * longest).long().clamp(16)
    offsets = torch.cat([torch.zeros(1), lengths.cumsum(0)]).int().cuda()
    return torch.randn(int(lengths.sum()), 3, HEADS, HEAD_DIM, device="cuda", dtype=torch.bfloat16), offsets


def milliseconds(call: object) -> float:
    """Return the median time of a call."""
    return float(do_bench(call, warmup=5, rep=20, return_mode="median"))


def compare(name: str, longest: int, heads: Tensor, offsets: Tensor, dropout_p: float) -> None:
    """Print forward and backward times of both."""
    times = []
    for attend in (flash_attention if dropout_p else varlen_attention, fused.fused_attention):
        leaf = heads.clone().requires_grad_()
        context = attend(leaf, offsets, longest, dropout_p)
        gradient = torch.randn_like(context)
        times.append(milliseconds(lambda: attend(heads, offsets, longest, dropout_p)))  # noqa: B023
        times.append(milliseconds(lambda: torch.autograd.grad(context, leaf, gradient, retain_graph=True)))  # noqa: B023
    shown = " ".join(f"{time:.3f}" for time in times)
    print(
        f"{name}, dropout {dropout_p}: {shown}; faster {times[0] / times[2]:.2f}, {times[1] / times[3]:.2f}", flush=True
    )


def time_blocks(longest: int, heads: Tensor, offsets: Tensor) -> None:
    """Print the time of each kernel with each block, with dropout."""
    words, (context, log_sums) = fused.draw_words(heads, len(offsets) - 1), fused.empty_outputs(heads)
    gradient, row_sums, result = torch.randn_like(context), torch.zeros_like(log_sums), torch.empty_like(heads)
    tensors = {
        fused.forward_kernel: (heads, context, log_sums),
        fused.query_kernel: (heads, context, gradient, log_sums, row_sums, result),
        fused.key_value_kernel: (heads, gradient, log_sums, row_sums, result),
    }
    for kernel, (block, candidates) in BLOCKS.items():
        before = fused.SHAPES[kernel]
        for candidate in candidates:
            fused.SHAPES[kernel] = dict(zip(("rows", "columns", "num_warps", "num_stages"), candidate, strict=True))
            shape = fused.SHAPES[kernel]
            start = kernel[fused.grid_of(heads, offsets, longest, shape[block])]
            inputs = (*tensors[kernel], offsets, words, *fused.constants_of(heads, 0.1))
            time = milliseconds(lambda: start(*inputs, **shape))  # noqa: B023
            print(f"{kernel.fn.__name__} {candidate}: {time:.3f}", flush=True)
        fused.SHAPES[kernel] = before


def main() -> None:
    """Print everything."""
    print("ms: flash forward, backward; fused forward, backward")
    for (name, (longest, count, is_full)), dropout_p in itertools.product(BATCHES.items(), (0.1, 0.0)):
        compare(name, longest, *batch(longest, count, is_full), dropout_p)
    for longest, count, is_full in (BATCHES["512, MLPerf's lengths"], BATCHES["128, MLPerf's lengths"]):
        print(f"\nblocks at {longest}")
        time_blocks(longest, *batch(longest, count, is_full))


if __name__ == "__main__":
    main()
