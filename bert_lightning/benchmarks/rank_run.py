"""Training steps of several ranks on this machine, through the trainer and the strategies of bert-pretrain."""

import logging
import multiprocessing
import os
import socket
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from torch.utils.data import DataLoader

from bert_lightning.benchmarks.contestants import Setting
from bert_lightning.benchmarks.model_batches import ExampleSource
from bert_lightning.benchmarks.sent_bytes import sent_bytes
from bert_lightning.callbacks.preemption import leave_out_sigterm_broadcast
from bert_lightning.distributed.collectives import shut_down, world_size
from bert_lightning.models.attention import choose_attention
from bert_lightning.training.modules import TrainingModule
from bert_lightning.training.schedules import constant

WARM_UP = 3
"""Steps before those that are measured: DDP rebuilds its buckets after the first."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to train.

    Attributes:
        name: Name in the tables.
        make_strategy: Builds the strategy, as `conf/strategy` does.
        micro_batches: Micro-batches of every rank in a step.
        is_reference: Whether the ranks exchange no gradients.
    """

    name: str
    make_strategy: Callable[[], Strategy]
    micro_batches: int = 1
    is_reference: bool = False


@dataclass(slots=True)
class Turn:
    """Measurements of one rank.

    Attributes:
        seconds: Seconds of every step after the warm-up.
        sent: Bytes sent in all these steps.
    """

    seconds: list[float] = field(default_factory=list)
    sent: int = 0


class StepMeter(L.Callback):
    """Note seconds and bytes of the steps after the warm-up and before the last, in which the metrics are read."""

    def __init__(self) -> None:
        self.turn = Turn()
        self._since = 0.0
        self._sent_before = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out Lightning's broadcast at every batch, as callbacks.preemption does."""
        leave_out_sigterm_broadcast(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Read the clock; the counts of the kernel before the steps that are measured, and after them."""
        now, step = time.perf_counter(), trainer.global_step
        if WARM_UP < step < trainer.max_steps:
            self.turn.seconds.append(now - self._since)
        if step == WARM_UP:
            self._sent_before = sent_bytes()
        elif step == trainer.max_steps - 1:
            self.turn.sent = sent_bytes() - self._sent_before
        self._since = time.perf_counter()


@dataclass(frozen=True, slots=True)
class Job:
    """The work of every rank: all ways in turn, several times.

    Attributes:
        setting: The model, its precision and optimizer.
        source: Source of the examples; each of its batches is a micro-batch of one rank.
        ways: Ways to train.
        steps: Steps to measure in each turn.
        repeats: Turns of each way to train.
    """

    setting: Setting
    source: ExampleSource
    ways: tuple[Way, ...]
    steps: int
    repeats: int


def run_ranks(job: Job, ranks: int) -> list[list[Turn]]:
    """Return what the first rank has measured, for every way and turn."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ProcessPoolExecutor(ranks, multiprocessing.get_context("spawn")) as pool:
        results = [pool.submit(_run_rank, job, rank, ranks, port) for rank in range(ranks)]
        try:
            first, *_ = [result.result() for result in results]
        except BrokenProcessPool as error:
            raise ChildProcessError(f"one of {ranks} ranks was lost; the kernel kills it if memory is short") from error
    return first


def _run_rank(job: Job, rank: int, ranks: int, port: int) -> list[list[Turn]]:
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    variables = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": ranks,
        "NODE_RANK": 0,
        "LOCAL_RANK": rank,
    }
    os.environ.update({name: str(value) for name, value in variables.items()})
    if ranks > 1:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=ranks)  # also for ways that exchange nothing
    batches = job.source.batches(4 * ranks)[rank::ranks]
    found: list[list[Turn]] = [[] for _ in job.ways]
    for _ in range(job.repeats):
        for way, turns in zip(job.ways, found, strict=True):
            steps = [
                [batches[(step * way.micro_batches + part) % len(batches)] for part in range(way.micro_batches)]
                for step in range(WARM_UP + job.steps + 1)
            ]
            turns.append(_fit(job.setting, way, steps))
    shut_down()
    return found


def _fit(setting: Setting, way: Way, steps: list[Any]) -> Turn:
    strategy, meter = way.make_strategy(), StepMeter()
    attention = choose_attention("cpu", setting.config.attention_probs_dropout_prob, setting.precision != "32-true")
    torch.manual_seed(setting.seed)
    objective = setting.make_objective(config=setting.config, attention=attention)
    schedule = partial(constant, max_steps=len(steps))
    module = TrainingModule(
        objective,
        setting.make_optimizer,
        schedule,
        seed=setting.seed,
        max_steps=len(steps),
        log_every_n_steps=len(steps),
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world_size() if isinstance(strategy, ParallelStrategy) else 1,
        strategy=strategy,
        precision=setting.precision,  # type: ignore[arg-type]
        callbacks=[meter],
        max_epochs=-1,
        max_steps=len(steps),
        logger=False,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train_dataloaders=DataLoader(steps, batch_size=None, collate_fn=list))  # type: ignore[arg-type]
    return meter.turn
