"""One seed of a fine-tuning: trained to its end, then scored with its best checkpoint."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from bert_lightning.callbacks.checkpointing import remove_checkpoint
from bert_lightning.callbacks.preemption import hand_over, was_signaled
from bert_lightning.callbacks.trial import TrialReport
from bert_lightning.checkpoints.checkpoint import latest_checkpoint, load_pretrained
from bert_lightning.distributed.collectives import gather_objects, shut_down
from bert_lightning.finetuning.job import Job
from bert_lightning.finetuning.score_files import SeedScores, measure, write_seed
from bert_lightning.finetuning.seed_plan import SeedRun
from bert_lightning.finetuning.seed_training import train_seed
from bert_lightning.finetuning.split_scores import score_examples
from bert_lightning.finetuning.task import TRAIN, VALIDATION, Split
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.reports.report import write_report
from bert_lightning.settings.changed_settings import changed_settings
from bert_lightning.settings.config import is_first_process
from bert_lightning.settings.finetuned_folder import chosen_checkpoint
from bert_lightning.settings.run_folder import step_of
from bert_lightning.training.spared_files import goes_on
from bert_lightning.training.starting_point import has_ended

log = logging.getLogger(__name__)


def run_seed(job: Job, run: SeedRun) -> SeedScores | None:
    """Train a seed to its end and score it; one that is finished is left alone.

    Returns:
        What it has reached, None if it was told to stop before its end, or pruned as a trial of a search.
    """
    settings = run.settings
    if run.scores is not None:
        _say_finished(run, run.scores)
        return run.scores
    device = torch.device(job.device_type)
    if not has_ended(run.start, run.folder, settings.trainer.max_steps):
        trainer = train_seed(job, run)
        if was_signaled(trainer):
            shut_down()
            hand_over(trainer)
            return None
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(each.pruned for each in callbacks if isinstance(each, TrialReport)):
            return None
        device = trainer.strategy.root_device
    return _score(job, run, device)


def _say_finished(run: SeedRun, scores: SeedScores) -> None:
    """Say that a seed is finished, and which settings have no effect on it any more."""
    if not is_first_process():
        return
    log.info("%s is finished: %s=%.4f", run.folder.path, scores.chosen_by, scores.metrics[scores.chosen_by])
    before: Any = OmegaConf.to_container(OmegaConf.load(run.folder.config)) if run.folder.config.exists() else {}
    for change in changed_settings(before, run.settings, str(run.folder.path)):
        log.info("%s: no effect on a finished run", change)


def _score(job: Job, run: SeedRun, device: torch.device) -> SeedScores:
    """Score all splits with the best checkpoint of a seed, write its files, and remove its other checkpoints."""
    scored, checkpoint = _best(job, run, device)
    files = [(split, scores) for split, scores in scored]
    scores = SeedScores(
        task=job.task.name,
        seed=run.settings.seed,
        step=step_of(checkpoint),
        checkpoint=str(checkpoint.relative_to(run.folder.path)),
        chosen_by=f"{VALIDATION}/{job.task.chosen_by}",
        highest_is_best=job.task.highest_is_best,
        metrics=measure(job.task, files),
        examples={split.name: len(split.records) for split, _ in files},
        examples_sha256=job.examples_sha256(),
    )
    if is_first_process():
        write_seed(run.folder.path, job.task, files, scores)
        if run.folder.report.exists():
            with goes_on(f"{run.folder.report} is not written"):
                write_report(run.folder.path)
        for other in run.folder.newer_than(-1):
            if other != checkpoint:
                remove_checkpoint(other)
        reached = "  ".join(f"{name} {value:.4f}" for name, value in scores.metrics.items())
        log.info("%s, step %d: %s", run.settings.run_name, scores.step, reached)
    return scores


def _best(job: Job, run: SeedRun, device: torch.device) -> tuple[list[tuple[Split, ExampleScores]], Path]:
    """Return the scores of all splits but the training split by the best checkpoint, and that checkpoint.

    It is the one that the run has noted, unless the newest one is better: a run that was killed before its last
    validation has not noted it.
    """
    newest = latest_checkpoint(run.folder.path)
    assert newest is not None
    on_first_rank = gather_objects((str(chosen_checkpoint(run.folder, newest)), str(newest)))[0]
    validation, best = job.splits[VALIDATION], None
    sign = 1 if job.task.highest_is_best else -1
    for checkpoint in dict.fromkeys(map(Path, on_first_rank)):
        objective = job.objective(run.settings.classifier_dropout)
        objective.load_state_dict(load_pretrained(checkpoint).state)
        score = partial(
            score_examples,
            objective.to(device),
            micro_batch_size=run.settings.data.validation_micro_batch_size,
            device=device,
            is_bf16=job.precision == "bf16-mixed",
        )
        scores = score(validation.encoded)
        value = sign * job.task.metrics(validation, scores)[job.task.chosen_by]
        if best is None or value > best[0]:
            best = (value, checkpoint, score, scores)
    assert best is not None
    _, checkpoint, score, scores = best
    others = [split for name, split in job.splits.items() if name not in (TRAIN, VALIDATION)]
    return [(validation, scores), *((split, score(split.encoded)) for split in others)], checkpoint
