"""Between two readings of the metrics the host reads nothing from the device: not in the step, not around it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bert_lightning.callbacks.throughput import Throughput
from bert_lightning.training.datamodules import HeldOutExamples, PretrainingData
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.streams import stream
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.phases import Phase, Phases
from tests.support.training import fit, make_module, make_objective

READS = {
    "aten::_local_scalar_dense",
    "aten::item",
    "aten::nonzero",
    "aten::masked_select",
    "aten::unique_dim",
    "aten::_unique2",
    "aten::is_nonzero",
    "aten::equal",
}
"""What waits for a GPU until it has the value; .item() and a tensor in `if` come down to the first."""


class NothingIsRead(TorchDispatchMode):
    """Remember every operation that gives the host a value or a shape of the device's making."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        by_mask = name.startswith("aten::index") and any(
            _is_mask(part) for part in torch.utils._pytree.tree_leaves(args)
        )
        if name in READS or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def _is_mask(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype == torch.bool


class Watch(L.Callback):
    """Watch every step but those that log, from the batch's arrival to the next one's."""

    def __init__(self) -> None:
        self.mode = NothingIsRead()
        self.num_steps = 0
        self._is_on = False

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if (trainer.global_step + 1) % pl_module._log_every_n_steps:
            self.mode.__enter__()
            self._is_on = True

    def on_train_batch_end(self, *args: Any) -> None:
        if self._is_on:
            self.mode.__exit__(None, None, None)
            self._is_on = False
            self.num_steps += 1


def on_a_gpu(qkv: Tensor, cu_seqlens: Tensor, longest: int, dropout_p: float) -> Tensor:
    """Attention as one kernel: the one for CPUs reads the offsets."""
    return qkv.prod(1)


@pytest.mark.parametrize("chunk_rows", [None, 16])
def test_a_step_reads_nothing(prepared: Path, tmp_path: Path, chunk_rows: int | None) -> None:
    objective = make_objective(prepared)
    objective.mlm_head.chunk_rows = chunk_rows
    for layer in objective.encoder.layers:
        layer.attention.attention = on_a_gpu
    throughput, watch = Throughput(peak_flops=1e12), Watch()
    module = make_module(objective, 6, log_every_n_steps=3)
    fit(module, prepared, tmp_path, 6, callbacks=[throughput, watch])  # the watch ends after the others
    assert watch.num_steps == 4
    assert watch.mode.found == []


def test_the_watch_sees_what_it_should() -> None:
    mode = NothingIsRead()
    value, mask = torch.tensor([1.0, 2.0]), torch.tensor([True, False])
    with mode:
        value.sum().item(), value[mask], mask.nonzero(), bool(mask.any())
    assert len(mode.found) >= 4


def test_copies_are_pinned_and_do_not_wait(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU the loader is told to page-lock its buffers, and each micro-batch is one transfer without waiting."""
    asked: dict[str, Any] = {}
    plain = stream.DataLoader
    monkeypatch.setattr(
        stream, "DataLoader", lambda *args, **kw: asked.update(kw) or plain(*args, **kw | {"pin_memory": False})
    )
    data = PretrainingData(
        prepared,
        SegmentPairs(),
        Phases((Phase(3, 48, 32, 8, TokenMasking()),)),
        HeldOutExamples(TokenMasking()),
        cache_dir=tmp_path,
    )
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    ranks = {"global_rank": 0, "local_rank": 0, "world_size": 1}
    data.trainer = SimpleNamespace(**ranks, strategy=strategy)  # type: ignore[assignment]
    step = next(iter(data.train_dataloader()))
    assert asked["pin_memory"] is True
    moved: list[bool] = []
    monkeypatch.setattr(PackedBatch, "to", lambda part, device, non_blocking=False: moved.append(non_blocking))
    data.transfer_batch_to_device(step, torch.device("cuda"), 0)
    assert moved == [True] * 4
