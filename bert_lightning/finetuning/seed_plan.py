"""What one seed of a fine-tuning is going to be: its settings, and what it goes on from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from bert_lightning.finetuning.job import Job
from bert_lightning.finetuning.score_files import SeedScores, read_seed
from bert_lightning.finetuning.sizes import run_sizes
from bert_lightning.finetuning.starting_weights import check_reinit_layers
from bert_lightning.finetuning.task import TRAIN, VALIDATION, Task
from bert_lightning.settings.changed_settings import changed_settings
from bert_lightning.settings.config import filled_in, is_first_process, validate
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.training.layer_rates import LayerRates
from bert_lightning.training.starting_point import StartingPoint, check_resume, find_checkpoint
from bert_lightning.training.task_data import TaskData
from data_pipeline.whole_numbers import check_whole_number, number_of

DECIDING = (
    "checkpoint", "task", "model", "optimizer", "schedule", "epochs", "head_lr", "layer_decay", "reinit_layers",
    "freeze", "layers", "combine", "teacher", "teacher_weight", "teacher_temperature", "patience",
    "classifier_dropout", "gradient_clip_val", "data.seq_len", "data.global_batch_size", "trainer.max_steps",
)  # fmt: skip
"""Settings, and groups of them, that are the same for all seeds of a mean."""


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
    check_reinit_layers(job.pretrained, settings.reinit_layers)
    _check_numbers(settings)
    _check_choice(settings, job.task)
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


def check_finished(runs: Sequence[SeedRun], job: Job) -> None:
    """Raise a ValueError if seeds that have to be trained would differ from finished ones in more than the seed.

    Args:
        runs: All seeds of a fine-tuning, of all points of its grid.
        job: What they share.
    """
    finished = [run for run in runs if run.scores is not None]
    if len(finished) == len(runs):
        return
    others = {name: split for name, split in job.splits.items() if name != TRAIN}
    here = {name: (len(split.records), split.is_labeled) for name, split in others.items()}
    hashes = job.examples_sha256()
    for run in finished:
        assert run.scores is not None
        scored = {name.partition("/")[0] for name in run.scores.metrics}
        there = {name: (number, name in scored) for name, number in run.scores.examples.items()}
        changes = [f"{_said(there)}, now {_said(here)}"] * (there != here)
        changes += [
            f"the {name} examples have changed"
            for name, digest in run.scores.examples_sha256.items()
            if digest != hashes.get(name, digest)
        ]
        before: Any = OmegaConf.to_container(OmegaConf.load(run.folder.config)) if run.folder.config.exists() else {}
        for change in changed_settings(before, run.settings, str(run.folder.path)):
            if change.name.startswith(tuple(f"{name}." for name in DECIDING)) or change.name in DECIDING:
                changes.insert(0, str(change))
        if changes:
            raise ValueError(
                f"{run.folder.path} is finished, and the other seeds would differ from it in more than the seed: "
                f"{changes[0]}; another run_name starts a new fine-tuning"
            )


def _said(splits: Mapping[str, tuple[int, bool]]) -> str:
    """Return the sizes of splits, and whether they have labels, in words."""
    return ", ".join(
        f"{name} has {number_of(number, 'example')}{'' if is_labeled else ' without labels'}"
        for name, (number, is_labeled) in splits.items()
    )


def _check_numbers(settings: DictConfig) -> None:
    check_whole_number("data.validation_micro_batch_size", settings.data.validation_micro_batch_size)
    check_whole_number("patience", settings.patience, or_null=True)
    dropout = settings.classifier_dropout
    if dropout is not None and (isinstance(dropout, bool | str) or not 0 <= dropout < 1):
        raise ValueError(f"classifier_dropout must be a probability below 1, or null; got {dropout}")


def _check_choice(settings: DictConfig, task: Task) -> None:
    """Refuse settings by which the best checkpoint would not be chosen by the metric of all validation examples."""
    kept, chosen_by = settings.callbacks.checkpoint.keep_best, f"val/{task.chosen_by}"
    if kept not in (None, chosen_by):
        raise ValueError(
            f"callbacks.checkpoint.keep_best={kept}, but a fine-tuning chooses its best checkpoint by {chosen_by}; "
            "task.chosen_by names another metric"
        )
    limit = settings.trainer.limit_val_batches
    if limit != 0 and (limit != 1.0 or isinstance(limit, int)):
        raise ValueError(
            f"trainer.limit_val_batches={limit}, but {chosen_by} is measured on all validation examples; it must be "
            "1.0 in a fine-tuning"
        )


def _seed_settings(cfg: DictConfig, job: Job, folder: str, seed: int, lr: float, global_batch_size: int) -> DictConfig:
    trainer, data = cfg.trainer, cfg.data
    sizes = run_sizes(
        len(job.splits[TRAIN].encoded),
        cfg.epochs,
        global_batch_size,
        job.processes.size,
        max_steps=trainer.max_steps,
        val_check_interval=trainer.val_check_interval,
        micro_batch_size=data.micro_batch_size,
    )
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
