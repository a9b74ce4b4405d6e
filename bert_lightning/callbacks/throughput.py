"""How fast the run is: real tokens per second, the share of the hardware's peak, of waiting for data, of filler."""

import resource
import sys
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from bert_lightning.distributed.collectives import sum_over_ranks, world_size
from bert_lightning.metrics.flops import peak_flops
from bert_lightning.training.modules import TrainingModule
from data_pipeline.streams.packed_batch import PackedBatch


class Throughput(L.Callback):
    """Log speed, waiting and progress with the other metrics, over the steps since the last reading.

    Time spent validating does not count as training. `packing_efficiency` is the share of computed tokens
    that are real.

    Args:
        peak_flops: Operations per second of one device at most; None takes the data sheet or measures.
    """

    def __init__(self, peak_flops: float | None = None) -> None:
        if peak_flops is not None and not peak_flops > 0:
            raise ValueError(f"callbacks.throughput.peak_flops must be above 0, or null; got {peak_flops}")
        self.peak_flops = peak_flops
        self._tokens_seen = 0.0  # of this rank; after a resume the first rank has those of all
        self._device = torch.device("cpu")
        self._clear()

    def _clear(self) -> None:
        self._seconds, self._begin = 0.0, time.perf_counter()
        self._steps = 0
        self._tokens, self._computed = 0, 0  # real tokens and all tokens of this rank
        self._labels: dict[str, int] = {}  # of each of the targets
        self._squares: Tensor | None = None  # sum of squared sequence lengths, on the device

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the peak of the device."""
        if self.peak_flops is None:
            dtype = torch.bfloat16 if "bf16" in str(trainer.precision) else torch.float32
            self.peak_flops = peak_flops(pl_module.device, dtype)
        self._device = pl_module.device
        self._tokens_seen *= trainer.is_global_zero
        self._clear()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: list[PackedBatch], batch_idx: int
    ) -> None:
        """Count the step; log if the module has just logged."""
        for micro_batch in batch:
            self._tokens += micro_batch.num_tokens
            self._tokens_seen += micro_batch.num_tokens
            self._computed += len(micro_batch.tokens.input_ids)
            for name, target in micro_batch.targets.items():
                self._labels[name] = self._labels.get(name, 0) + target.count
            ends = micro_batch.tokens.cu_seqlens.clamp(max=micro_batch.num_tokens)  # filler has no length then
            squares = ends.diff().double().square().sum()
            self._squares = squares if self._squares is None else self._squares + squares
        self._steps += 1
        if pl_module.is_logging_step():
            self._log(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._seconds += time.perf_counter() - self._begin

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock again."""
        self._begin = time.perf_counter()

    def _log(self, trainer: Any, pl_module: TrainingModule) -> None:
        seconds = self._seconds + time.perf_counter() - self._begin
        assert self._squares is not None
        assert self.peak_flops is not None
        host = [self._tokens, self._computed, self._tokens_seen, *self._labels.values()]
        sums = torch.cat([torch.tensor(host, dtype=torch.float64).to(self._device), self._squares.reshape(1)])
        tokens, computed, tokens_seen, *labels, squares = sum_over_ranks(sums).tolist()
        flops = pl_module.objective.useful_flops(tokens, squares, dict(zip(self._labels, labels, strict=True)))
        data, phases = trainer.datamodule, trainer.datamodule.phases
        samples = data.samples_after(trainer.global_step)
        new_samples = samples - data.samples_after(trainer.global_step - self._steps)
        phase = {"progress/phase": phases.number_at_step(trainer.global_step) + 1.0} if len(phases) > 1 else {}
        pl_module.log_values(
            {
                "throughput/tokens_per_second": tokens / seconds,
                "throughput/samples_per_second": new_samples / seconds,
                "throughput/step_seconds": seconds / self._steps,
                "throughput/mfu": flops / seconds / (self.peak_flops * world_size()),
                "throughput/data_wait": data.take_wait_seconds() / seconds,
                "throughput/packing_efficiency": tokens / computed,
                "throughput/memory_gb": _peak_memory(pl_module.device) / 1e9,
                "progress/samples": float(samples),
                "progress/tokens": tokens_seen,
                "progress/epoch": data.epoch_of(samples),
            }
            | phase
        )
        self._clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the tokens that all ranks have seen; all ranks must call it."""
        seen = torch.tensor(self._tokens_seen, dtype=torch.float64, device=self._device)
        return {"tokens_seen": sum_over_ranks(seen).item()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting tokens."""
        self._tokens_seen = state["tokens_seen"]


def _peak_memory(device: torch.device) -> float:
    """Return the most bytes this process has held: on the GPU if it trains there, else resident."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there and KiB on Linux
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
