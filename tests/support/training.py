"""The tiny objective, its data and its module, trained without the command."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.models.encoder import Encoder
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.objective import Objective
from bert_lightning.training.datamodules import HeldOutExamples, PretrainingData
from bert_lightning.training.modules import TrainingModule
from bert_lightning.training.schedules import constant
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.phases import Phase, Phases
from tests.support.models import tiny_encoder


def make_objective(prepared: Path, dropout: float = 0.0) -> MaskedLMWithNSP:
    torch.manual_seed(0)
    return MaskedLMWithNSP(tiny_encoder(Manifest.load(prepared).vocab_size, dropout))


def make_module(
    objective: Objective, max_steps: int, optimizer: Callable[..., Any] | None = None, **changes: Any
) -> Any:
    optimizer = optimizer or partial(torch.optim.AdamW, lr=1e-3, fused=True)
    schedule = partial(constant, max_steps=max_steps)
    numbers = {"seed": 0, "max_steps": max_steps, "log_every_n_steps": 1}
    return TrainingModule(objective, optimizer, schedule, **(numbers | changes))


def fit(
    module: TrainingModule, prepared: Path, folder: Path, max_steps: int, micro: int = 8, **changes: Any
) -> L.Trainer:
    masking = TokenMasking()
    phases = Phases((Phase(max_steps, 48, 32, micro, masking),))
    data = PretrainingData(prepared, SegmentPairs(), phases, HeldOutExamples(masking), cache_dir=folder)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        max_epochs=-1,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **({"val_check_interval": 1000, "logger": [MetricsCsv(folder)]} | changes),
    )
    trainer.fit(module, datamodule=data)
    return trainer


def make_data(
    prepared: Path,
    cache: Path,
    rank: int = 0,
    world_size: int = 1,
    held_out: HeldOutExamples | None = None,
    **changes: Any,
) -> PretrainingData:
    phase = {"num_steps": 9, "seq_len": 48, "global_batch_size": 24, "micro_batch_size": 4, "masking": TokenMasking()}
    phases = Phases((Phase(**{name: changes.pop(name, value) for name, value in phase.items()}),))
    settings = {"pairs": SegmentPairs(), "phases": phases} | changes
    data = PretrainingData(
        prepared, validation=held_out or HeldOutExamples(TokenMasking()), cache_dir=cache, **settings
    )
    device = SimpleNamespace(type="cpu")
    data.trainer = SimpleNamespace(
        global_rank=rank, local_rank=rank, world_size=world_size, strategy=SimpleNamespace(root_device=device)
    )
    return data


class Breaking(Objective):
    """An objective whose loss is not finite at some steps."""

    def __init__(self, inner: MaskedLMWithNSP, bad_calls: set[int], bad: float) -> None:
        super().__init__()
        self.inner, self.bad_calls, self.bad, self.calls = inner, bad_calls, bad, 0
        self.quantities = inner.quantities

    def encoders(self) -> dict[str, Encoder]:
        return self.inner.encoders()

    def forward(self, batch: PackedBatch) -> dict[str, torch.Tensor]:
        output = self.inner(batch)
        if self.training:
            self.calls += 1
            if self.calls in self.bad_calls:
                output["nsp_loss"] = output["nsp_loss"] + self.bad  # the gradient stays finite
        return output


class KillBefore(L.Callback):
    """Kill this process with SIGKILL before it makes the step after so many."""

    def __init__(self, made: int) -> None:
        self.made = made

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.made:
            os.kill(os.getpid(), signal.SIGKILL)
