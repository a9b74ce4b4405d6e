"""One seed of a fine-tuning, trained as bert-pretrain trains."""

from functools import partial
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies import Strategy
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from bert_lightning.callbacks.preemption import Preemption
from bert_lightning.callbacks.scoring import Scoring
from bert_lightning.checkpoints.checkpoint import checkpoint_payload
from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.sharding import recompute_activations
from bert_lightning.execution.strategies import FullyShardedStrategy
from bert_lightning.finetuning.job import Job
from bert_lightning.finetuning.seed_plan import SeedRun, layer_rates, task_data
from bert_lightning.finetuning.starting_weights import begin_with, said_of_start, starting_state, trained_parts
from bert_lightning.finetuning.task import VALIDATION
from bert_lightning.metrics.wandb_run import end_wandb_run
from bert_lightning.objectives.task_objective import TaskObjective
from bert_lightning.settings.changed_settings import changed_settings
from bert_lightning.settings.config import is_first_process
from bert_lightning.training.modules import TrainingModule
from bert_lightning.training.started_run import advice, started, train
from bert_lightning.training.step_guard import NotFiniteError
from bert_lightning.training.trainers import make_trainer
from data_pipeline.whole_numbers import number_of


class DivergedError(ValueError):
    """The loss or the gradients of a seed were not finite for too many steps in a row."""


def train_seed(job: Job, run: SeedRun) -> L.Trainer:
    """Train a seed and return its trainer.

    Raises:
        DivergedError: naming the steps that were not finite.
    """
    settings, start = run.settings, run.start
    strategy = instantiate(settings.strategy)
    said, module = build_module(job, settings, strategy)
    data = task_data(job, settings)
    trainer = _trainer(job, settings, strategy)
    where = f"checkpoint={start.checkpoint}" if start is not None else ""
    changes = changed_settings(start.settings, settings, where) if start is not None else []
    text = OmegaConf.to_yaml(settings, resolve=True)
    said = [_announcement(job, run), *(said if start is None else []), *map(str, changes)]
    with started(run.folder, start, settings.resume, text, job.processes, said):
        try:
            train(trainer, module, data, start, run.folder)
        except NotFiniteError as error:
            end_wandb_run(exit_code=1)
            raise DivergedError(f"{error}: {advice(error, run.folder, data)}") from error
    end_wandb_run()
    return trainer


def _announcement(job: Job, run: SeedRun) -> str:
    settings, start = run.settings, run.start
    sizes = ", ".join(f"{len(split.encoded):,} {name}" for name, split in job.splits.items())
    how = f"continuing from {start.checkpoint}" if start is not None else f"from {settings.checkpoint}"
    examples = number_of(settings.data.global_batch_size, "example")
    steps = f"{number_of(settings.trainer.max_steps, 'step')} of {examples}"
    place = f"{job.processes.size} x {job.processes.accelerator}, {job.precision}"
    return f"{settings.run_name}: {sizes} examples, {place}, {steps}, {how}"


def build_module(job: Job, settings: DictConfig, strategy: Strategy) -> tuple[list[str], TrainingModule]:
    """Build the model with its first weights, the same on every rank, and what trains it.

    If the model is sharded, only the first rank makes weights; the others get theirs from it.

    Returns:
        What a user should know of the weights, line by line, and the module.
    """
    on_meta = isinstance(strategy, FullyShardedStrategy) and not is_first_process()
    L.seed_everything(settings.seed, verbose=False)
    if job.device_type == "cuda":
        torch.set_float32_matmul_precision(settings.float32_matmul_precision)
    with torch.device("meta" if on_meta else "cpu"):
        objective = job.objective(settings.classifier_dropout)
    said: list[str] = []
    if not on_meta:
        state = _first_weights(job, settings, objective)
        said = said_of_start(objective, state, job.pretrained)
        begin_with(objective, state)
    if settings.freeze:
        objective.freeze_encoder()
    job.teach(objective)
    compilation: Compilation = instantiate(settings.compile)
    for model in (objective, *objective.frozen()):
        compilation(model, job.device_type)
    if settings.activation_checkpointing:
        recompute_activations(objective)
    payload: Any = OmegaConf.to_container(settings, resolve=True)
    module = TrainingModule(
        objective,
        instantiate(settings.optimizer),
        instantiate(settings.schedule),
        seed=settings.seed,
        max_steps=settings.trainer.max_steps,
        log_every_n_steps=settings.trainer.log_every_n_steps,
        gradient_clip_val=settings.gradient_clip_val,
        max_skipped_steps=settings.max_skipped_steps,
        payload=checkpoint_payload(
            job.config, job.pretrained.tokenizer_files, payload, job.head(), job.pretrained.corpus
        ),
        keeps_gradients=compilation.records(job.device_type),
        groups=layer_rates(settings),
    )
    return said, module


def _first_weights(job: Job, settings: DictConfig, objective: TaskObjective) -> dict[str, Tensor]:
    parts = trained_parts(objective) if job.reading.is_last else []
    return starting_state(job.pretrained, parts, settings.reinit_layers)


def _trainer(job: Job, settings: DictConfig, strategy: Strategy) -> L.Trainer:
    callbacks, loggers = (
        [each for each in instantiate(group).values() if each is not None]
        for group in (settings.callbacks, settings.logger)
    )
    keeps_time = any(isinstance(each, Preemption) for each in callbacks)
    callbacks = [Scoring(partial(job.task.metrics, job.splits[VALIDATION])), *callbacks]
    if settings.patience is not None:
        mode = "max" if job.task.highest_is_best else "min"
        monitor = f"val/{job.task.chosen_by}"
        callbacks.append(EarlyStopping(monitor, patience=settings.patience, mode=mode, check_finite=False))
    make = partial(instantiate, settings.trainer)
    return make_trainer(make, strategy, job.processes, job.precision, callbacks, loggers, keeps_time)
