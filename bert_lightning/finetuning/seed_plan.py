"""What one seed of a fine-tuning is going to be: its settings, and what it goes on from."""

from dataclasses import dataclass

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from bert_lightning.finetuning.job import Job
from bert_lightning.finetuning.score_files import SeedScores, read_seed
from bert_lightning.finetuning.sizes import run_sizes
from bert_lightning.finetuning.task import TRAIN, VALIDATION
from bert_lightning.settings.config import filled_in, is_first_process, validate
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.training.layer_rates import LayerRates
from bert_lightning.training.starting_point import StartingPoint, check_resume, find_checkpoint
from bert_lightning.training.task_data import TaskData
from data_pipeline.whole_numbers import check_whole_number


@dataclass(frozen=True, slots=True)
class SeedRun:
    """One seed, as it stands.

    Attributes:
        settings: Its settings, with what follows from the data filled in.
        start: The checkpoint that it goes on from.
        scores: What it has reached if it is finished.
    """

    settings: DictConfig
    start: StartingPoint | None
    scores: SeedScores | None

    @property
    def folder(self) -> RunFolder:
        """The folder of the seed."""
        return RunFolder(self.settings.run_dir)


def plan_seed(cfg: DictConfig, job: Job, folder: str, seed: int, lr: float | None, batch_size: int | None) -> SeedRun:
    """Decide the settings of a seed and what it goes on from; no file changes.

    Args:
        cfg: The settings of all seeds.
        job: What all seeds share.
        folder: Folder of the seed in that of the fine-tuning.
        seed: The seed.
        lr: Learning rate, None for that of the settings.
        batch_size: Examples of a step, None for that of the settings.

    Raises:
        ValueError: if settings do not fit each other, the data, or what the folder holds.
    """
    settings = _seed_settings(cfg, job, folder, seed, lr or cfg.optimizer.lr, batch_size or cfg.data.global_batch_size)
    validate(settings, job.processes)
    data = task_data(job, settings)
    data.check_sizes(job.processes.size)
    instantiate(settings.schedule)(0)
    layer_rates(settings)
    _check_numbers(settings)
    run_folder = RunFolder(settings.run_dir)
    if settings.resume is None and is_first_process() and read_seed(run_folder.path) is not None:
        raise ValueError(f"{run_folder.path} holds a run; resume=auto continues it, another run_name starts a new one")
    if (scores := read_seed(run_folder.path)) is not None:
        return SeedRun(settings, None, scores)
    checkpoint = find_checkpoint(settings.resume, run_folder)
    if checkpoint is None:
        return SeedRun(settings, None, None)
    with torch.device("meta"):
        objective = job.objective(settings.classifier_dropout)
    return SeedRun(settings, check_resume(checkpoint, objective, data, settings.trainer.max_steps), None)


def _check_numbers(settings: DictConfig) -> None:
    check_whole_number("data.validation_micro_batch_size", settings.data.validation_micro_batch_size)
    check_whole_number("patience", settings.patience, or_null=True)
    dropout = settings.classifier_dropout
    if dropout is not None and (isinstance(dropout, bool | str) or not 0 <= dropout < 1):
        raise ValueError(f"classifier_dropout must be a probability below 1, or null; got {dropout}")


def _seed_settings(cfg: DictConfig, job: Job, folder: str, seed: int, lr: float, global_batch_size: int) -> DictConfig:
    trainer, data = cfg.trainer, cfg.data
    asked = (trainer.max_steps, trainer.val_check_interval, data.micro_batch_size)
    num_examples = len(job.splits[TRAIN].encoded)
    sizes = run_sizes(num_examples, cfg.epochs, global_batch_size, job.processes.size, *asked)
    checkpoint = {
        "every_n_steps": cfg.callbacks.checkpoint.every_n_steps or sizes.val_check_interval,
        "best_is": "highest" if job.task.highest_is_best else "lowest",
    }
    return filled_in(
        cfg,
        {
            "run_name": f"{cfg.run_name}/{folder}",
            "seed": seed,
            "trainer": {"max_steps": sizes.max_steps, "val_check_interval": sizes.val_check_interval},
            "data": {"global_batch_size": global_batch_size, "micro_batch_size": sizes.micro_batch_size},
            "optimizer": {"lr": lr},
            "callbacks": {"checkpoint": checkpoint},
        },
    )


def task_data(job: Job, settings: DictConfig) -> TaskData:
    """Return the examples of a seed for the ranks of a trainer."""
    data = settings.data
    return TaskData(
        job.splits[TRAIN].encoded,
        job.splits[VALIDATION].encoded,
        settings.trainer.max_steps,
        data.seq_len,
        data.global_batch_size,
        data.micro_batch_size,
        data.validation_micro_batch_size,
        settings.seed,
        instantiate(settings.compile).num_shapes(job.device_type),
    )


def layer_rates(settings: DictConfig) -> LayerRates:
    """Return the learning rates of the layers."""
    return LayerRates(settings.optimizer.lr, settings.head_lr, settings.layer_decay)
