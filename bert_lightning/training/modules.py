"""One optimizer step on one global batch: normalize, accumulate, clip, update or skip, and measure.

Optimization is manual because a Lightning batch here is a whole global batch: the losses are divided by the number of
predictions of all ranks and micro-batches before the first backward pass, so ranks, workers and accumulation never
change the gradient, and the number of batches is the number of steps whatever the world size. The module does not
know which objective it trains.
"""

import logging
from collections.abc import Callable, Mapping
from math import isclose
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer
from torch.profiler import record_function

from bert_lightning.checkpoints.saved_state import (
    EXTERNAL_INPUTS,
    OBJECTIVE,
    PAYLOAD_KEY,
    STREAM,
    check_moments,
    stream_position,
)
from bert_lightning.distributed.collectives import sum_over_ranks, world_size
from bert_lightning.execution.strategies import FullyShardedStrategy, ReplicatedStrategy
from bert_lightning.metrics.metric_sums import MetricSums
from bert_lightning.objectives.objective import Objective, weighted_loss
from bert_lightning.profiling.step_profile import CLIP, FORWARD, METRICS
from bert_lightning.training.optim import (
    allocate_gradients,
    gradient_norm,
    parameter_groups,
    prepare_update,
    settings_of,
    take_settings,
)
from bert_lightning.training.step_guard import StepGuard, poison
from bert_lightning.training.training_data import TrainingData
from bert_lightning.training.validation_turns import end_early_again, let_patience_change, make_up_for_validation
from data_pipeline import rng
from data_pipeline.streams.packed_batch import PackedBatch

log = logging.getLogger(__name__)
STATE_KEY = "training_metrics"


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of all noise of one step on one rank, so that no generator state has to be saved.

    >>> len({dropout_seed(0, step, rank) for step in range(100) for rank in range(8)})
    800
    """
    return int(rng.fold(seed, step, rank)) & (2**63 - 1)


class TrainingModule(L.LightningModule):
    """Train any objective whose losses are sums over predictions.

    Args:
        objective: What is trained; see `objectives.objective`.
        optimizer: Function of the parameter groups that returns the optimizer.
        schedule: Function of the number of updates made so far that returns a factor on the learning rate.
        seed: Seed of dropout.
        max_steps: Steps of the whole run.
        log_every_n_steps: Steps between two readings of the metrics, the only times the host waits for the device.
        gradient_clip_val: Largest norm of the gradients; None clips nothing.
        max_skipped_steps: Steps in a row without finite gradients that end the run.
        payload: What every checkpoint carries besides the training state, as plain containers.
        keeps_gradients: Keep the memory of the gradients from step to step, as `allocate_gradients` says.
        groups: Function of the objective that returns its parameter groups, which may have a learning rate each.

    Raises:
        ValueError: if the objective has no loss with a weight.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        schedule: Callable[[int], float],
        *,
        seed: int,
        max_steps: int,
        log_every_n_steps: int = 50,
        gradient_clip_val: float | None = 1.0,
        max_skipped_steps: int = 10,
        payload: Mapping[str, Any] | None = None,
        keeps_gradients: bool = False,
        groups: Callable[[Objective], list[dict[str, Any]]] = parameter_groups,
    ) -> None:
        super().__init__()
        objective.check_weights()
        self.automatic_optimization = False
        self.objective = objective
        self.latest: dict[str, float] = {}
        self._make_optimizer = optimizer
        self._schedule = schedule
        self._seed = seed
        self._max_steps = max_steps
        self._log_every_n_steps = log_every_n_steps
        self._gradient_clip_val = gradient_clip_val
        self._max_skipped_steps = max_skipped_steps
        self._payload = dict(payload or {})
        self._keeps_gradients = keeps_gradients
        self._groups = groups
        self._settings: list[dict[str, Any]] = []
        self._source_sums: dict[str, MetricSums] = {}
        self._restored: Mapping[str, Any] | None = None

    def configure_model(self) -> None:
        """Shard the objective if the strategy does that; called again, it does nothing."""
        strategy = self.trainer.strategy
        if isinstance(strategy, FullyShardedStrategy) and not isinstance(self.objective, FSDPModule):
            strategy.shard(self.objective)

    def on_fit_start(self) -> None:
        """Move what is read and not trained, such as a teacher, to the device of the process."""
        for model in self.objective.frozen():
            model.to(self.device)

    def configure_optimizers(self) -> Optimizer:
        """Build the optimizer over the parameter groups."""
        optimizer = self._make_optimizer(self._groups(self.objective))
        self._settings = settings_of(optimizer)
        return optimizer

    def _take_settings(self, optimizer: Optimizer) -> None:
        """Let the optimizer's settings act instead of those that a checkpoint has brought; say if the rate jumps."""
        before = float(optimizer.param_groups[0]["lr"])
        take_settings(optimizer, self._settings)
        if self.global_step and self.global_rank == 0:
            now = self._settings[0]["lr"] * self._schedule(self.global_step - 1)
            if not isclose(before, now, rel_tol=1e-6):
                log.info(
                    "the learning rate at step %d was %.4g, is %.4g with these settings", self.global_step, before, now
                )

    def on_train_start(self) -> None:
        """Tell the loggers the settings, make the sums or take the saved ones, and validate if that is owed."""
        for optimizer in self.trainer.optimizers:
            check_moments(optimizer)
            self._take_settings(optimizer)
        if settings := self._payload.get(PAYLOAD_KEY, {}).get("config"):
            for logger in self.loggers:
                logger.log_hyperparams(settings)
        quantities = self.objective.quantities
        self._train_sums, self._val_sums = (MetricSums(quantities, self.device) for _ in range(2))
        self._guard = StepGuard(self._max_skipped_steps, self.device)
        if self._restored is not None:
            self._train_sums.load_state_dict(self._restored["sums"], self.global_rank == 0)
            self._guard.load_state_dict(self._restored["guard"])
        make_up_for_validation(self.trainer)
        end_early_again(self.trainer)

    def training_step(self, batch: list[PackedBatch], batch_idx: int) -> None:
        """Make one update from this rank's micro-batches of one global batch."""
        if self._keeps_gradients:
            allocate_gradients(self.objective)
        step = self.global_step
        torch.manual_seed(dropout_seed(self._seed, step, self.global_rank))
        local = [self.objective.counts(micro_batch) for micro_batch in batch]
        counts = {name: sum(count[name] for count in local) for name in self.objective.quantities}
        local_counts = self._on_device(list(counts.values()))
        total_counts = sum_over_ranks(local_counts.clone()).clamp(min=1.0)
        # DDP and FSDP average gradients over the ranks; the sum of all ranks' shares is wanted.
        scales = dict(zip(counts, (world_size() / total_counts).unbind(), strict=True))
        sums = self._accumulate_gradients(batch, scales)

        optimizer: Any = self.optimizers()
        with record_function(CLIP):
            norm = gradient_norm(self.objective.parameters())
            skipped = prepare_update(optimizer.optimizer, norm, self._gradient_clip_val)
        for group, settings in zip(optimizer.param_groups, self._settings, strict=True):
            group["lr"] = settings["lr"] * self._schedule(step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=not self._keeps_gradients)

        with record_function(METRICS):
            self._guard.add(norm, skipped)
            self._train_sums.add(sums, local_counts, skipped)
        if self.is_logging_step():
            self._log_training(optimizer.param_groups[0]["lr"])

    def _on_device(self, numbers: list[int]) -> Tensor:
        """Copy host numbers to the device without waiting for it."""
        host = torch.tensor(numbers, dtype=torch.float32)
        return host if self.device.type == "cpu" else host.pin_memory().to(self.device, non_blocking=True)

    def _accumulate_gradients(self, batch: list[PackedBatch], scales: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run forward and backward over the micro-batches; only the last one reduces gradients over the ranks.

        Returns:
            Detached sums of every loss and metric over this rank's micro-batches.
        """
        strategy = self.trainer.strategy
        sums: dict[str, Tensor] = {}
        for index, micro_batch in enumerate(batch):
            if isinstance(strategy, ReplicatedStrategy | FullyShardedStrategy):
                strategy.reduce_gradients(index == len(batch) - 1)
            with record_function(FORWARD):
                output = self.objective(micro_batch)
                loss = weighted_loss(self.objective.quantities, output, scales)
            self.manual_backward(loss, gradient=poison(loss))
            for name, value in output.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach().clone()
        return sums

    def is_logging_step(self) -> bool:
        """Return whether metrics are read after the step that was just made: no reading is of two phases."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        ends = {self._max_steps, *(data.phases.last_steps if data is not None else ())}
        return self.global_step % self._log_every_n_steps == 0 or self.global_step in ends

    def _log_training(self, lr: float) -> None:
        means = {f"train/{name}": value for name, value in self._train_sums.means().items()}
        self._train_sums.reset()
        self.log_values(means | self._guard.read(self.global_step) | {"optim/lr": lr})

    def log_values(self, values: Mapping[str, float]) -> None:
        """Give values of the current step to every logger and to Lightning's callbacks; keep them as `latest`.

        Args:
            values: Values that are the same on every rank; nothing is reduced or copied to the device.
        """
        self.latest |= values
        host = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        self.log_dict(host, logger=False, batch_size=1)
        for logger in self.loggers:
            logger.log_metrics(dict(values), step=self.global_step)

    def on_train_batch_end(self, outputs: Any, batch: list[PackedBatch], batch_idx: int) -> None:
        """Ask the loop to stop after the last step, which makes it validate once more."""
        if self.global_step >= self._max_steps:
            self.trainer.should_stop = True

    def validation_step(self, batch: list[PackedBatch], batch_idx: int) -> None:
        """Add the sums of one held-out micro-batch; nothing is compiled for its shapes."""
        for micro_batch in batch:
            counts = self.objective.counts(micro_batch)
            with torch.compiler.set_stance("force_eager"):
                sums = self.objective(micro_batch)
            for kept in self._held_out_sums(self._training_data().validation_source(batch_idx)):
                kept.add(sums, self._on_device(list(counts.values())))

    def _held_out_sums(self, source: str) -> list[MetricSums]:
        """Return the sums of the whole split and, if it has a name, of a source."""
        if source and source not in self._source_sums:
            self._source_sums[source] = MetricSums(self.objective.quantities, self.device)
        return [self._val_sums, *([self._source_sums[source]] if source else [])]

    def on_validation_epoch_end(self) -> None:
        """Log the exact means over the held-out split, and over each source of several."""
        values = {f"val/{name}": value for name, value in self._val_sums.means().items()}
        for source, sums in self._source_sums.items():
            values |= {f"val/{name}/{source}": value for name, value in sums.means().items()}
        self.log_values(values)
        self._val_sums.reset()
        self._source_sums = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the payload with the position in the stream, and the metrics that the next row is going to hold."""
        checkpoint.update(self._payload)
        position = self._training_data().position()
        about = {STREAM: position, OBJECTIVE: self.objective.name}
        checkpoint[PAYLOAD_KEY] = {**checkpoint.get(PAYLOAD_KEY, {}), **about}
        if besides := self.objective.external_inputs():
            checkpoint[PAYLOAD_KEY][EXTERNAL_INPUTS] = besides
        self._train_sums.gather(self.global_rank == 0)
        checkpoint[STATE_KEY] = {"sums": self._train_sums.state_dict(), "guard": self._guard.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the stream in its position, and keep the saved metrics until the device is known.

        Lightning calls it before it gives the callbacks their states.
        """
        let_patience_change(self.trainer, checkpoint)
        self._training_data().start_at(stream_position(checkpoint))
        self._restored = checkpoint.get(STATE_KEY)

    def _training_data(self) -> TrainingData:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        return data
