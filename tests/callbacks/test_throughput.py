"""Rates are counts over the time that was spent training."""

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bert_lightning.callbacks import throughput
from bert_lightning.callbacks.throughput import Throughput
from bert_lightning.models.useful_flops import step_flops
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.training import make_data, make_objective


class Clock:
    """A clock that tests turn."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def measure(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, float], list[PackedBatch], Any]:
    """Two steps of 3 seconds and a validation of 10 seconds between them."""
    clock = Clock()
    monkeypatch.setattr(throughput, "time", clock)
    data = make_data(prepared, tmp_path)
    batches = list(islice(data.train_dataloader(), 2))
    data.take_wait_seconds = lambda: 1.5
    objective = make_objective(prepared)
    logged: dict[str, float] = {}
    trainer = data.trainer
    vars(trainer).update(global_step=0, datamodule=data, precision="32-true", is_global_zero=True)
    module = SimpleNamespace(device=torch.device("cpu"), objective=objective, log_values=logged.update)
    module.is_logging_step = lambda: trainer.global_step == 2
    callback = Throughput(peak_flops=1e9)
    callback.on_train_start(trainer, module)
    for batch in batches:
        clock.now += 3.0
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, None, batch, 0)
        if trainer.global_step == 1:
            callback.on_validation_start(trainer, module)
            clock.now += 10.0
            callback.on_validation_end(trainer, module)
    return logged, [part for batch in batches for part in batch], (callback, objective)


def test_rates_leave_validation_out(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged, parts, (callback, objective) = measure(prepared, tmp_path, monkeypatch)
    tokens = sum(part.num_tokens for part in parts)
    assert logged["throughput/tokens_per_second"] == pytest.approx(tokens / 6)
    assert logged["throughput/samples_per_second"] == pytest.approx(48 / 6)
    assert logged["throughput/step_seconds"] == pytest.approx(3.0)
    assert logged["throughput/data_wait"] == pytest.approx(0.25)
    assert logged["throughput/packing_efficiency"] == pytest.approx(
        tokens / sum(len(part.tokens.input_ids) for part in parts)
    )
    assert logged["progress/tokens"] == tokens
    assert logged["progress/samples"] == 48
    lengths = [length for part in parts for length in part.tokens.cu_seqlens.diff()[: part.num_examples].tolist()]
    assert sum(lengths) == tokens
    predictions = sum(part.targets["mlm"].count for part in parts)
    flops = step_flops(objective.encoder.config, tokens, sum(length**2 for length in lengths), predictions)
    assert logged["throughput/mfu"] == pytest.approx(flops / 6 / 1e9)
    assert logged["throughput/memory_gb"] > 0.01
    assert callback.state_dict() == {"tokens_seen": tokens}


def test_the_peak_is_measured_where_none_is_given(prepared: Path) -> None:
    callback = Throughput()
    module = SimpleNamespace(device=torch.device("cpu"))
    callback.on_train_start(SimpleNamespace(precision="32-true", is_global_zero=True), module)
    assert callback.peak_flops > 1e9


def test_a_peak_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^callbacks\.throughput\.peak_flops must be above 0, or null; got 0$"):
        Throughput(peak_flops=0)
