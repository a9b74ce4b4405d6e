"""The folder of a run that is about to begin: held, cleared of what is newer, with its settings; and what is said."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import lightning as L
import torch

from bert_lightning.checkpoints.checkpoint import is_whole
from bert_lightning.settings.config import (
    Processes,
    is_first_process,
    restarts_would_fail,
    starts_again,
    unused_gpus,
)
from bert_lightning.settings.run_folder import RunFolder, step_of, write_whole
from bert_lightning.settings.slurm_step import has_terminal
from bert_lightning.training.going_back import set_newer_aside
from bert_lightning.training.preempted_run import was_preempted
from bert_lightning.training.starting_point import StartingPoint, was_overtaken
from bert_lightning.training.step_guard import NotFiniteError
from bert_lightning.training.training_data import TrainingData
from bert_lightning.training.validation_turns import begin_at_the_end

log = logging.getLogger(__name__)


@contextmanager
def started(
    folder: RunFolder,
    start: StartingPoint | None,
    resume: str | None,
    settings: str,
    processes: Processes,
    said: Sequence[str],
) -> Iterator[None]:
    """Hold the folder of the run, set aside what is newer, write the settings, and say what is about to happen.

    Processes other than the first do nothing.

    Args:
        folder: Folder of the run.
        start: The checkpoint that it goes on from, None for a run from the start.
        resume: The setting.
        settings: All settings as YAML, resolved.
        processes: The processes that train.
        said: Lines for the log of the run.

    Raises:
        ValueError: if another run has meanwhile gone on in the folder.
    """
    if not is_first_process():
        yield
        return
    with folder.locked():
        if was_overtaken(start, resume, folder):
            raise ValueError(f"another run has meanwhile gone on in {folder.path}; give the same command again")
        if restarts_would_fail():
            log.warning(
                "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, or its restarts may not find each other"
            )
        if resume is None and (launcher := starts_again(os.environ, has_terminal())):
            log.warning(
                "if %s starts this command again, resume=null refuses to continue the run; resume=auto continues it",
                launcher,
            )
        if unused := unused_gpus(processes, torch.cuda.device_count()):
            log.warning("%s %s", folder.path.name, unused)
        with folder.logged():
            set_newer_aside(folder, start, resume)
            write_whole(folder.config, settings)
            for line in said:
                log.info("%s", line)
            yield


def train(
    trainer: L.Trainer,
    module: L.LightningModule,
    data: L.LightningDataModule,
    start: StartingPoint | None,
    folder: RunFolder,
) -> None:
    """Train to the end of the run, and record the end; a run that has made all its steps makes its end once more.

    The end is the validation of the last step, with what the callbacks and loggers make of it: the best checkpoint, the
    report, the value of a trial, rows that W&B lacks. All of it can be made again.

    Args:
        trainer: The trainer.
        module: What it trains.
        data: The streams.
        start: The checkpoint that the run goes on from, None for a run from the start.
        folder: Folder of the run.
    """
    if start is not None and start.step == trainer.max_steps:
        begin_at_the_end(trainer)
    trainer.fit(module, datamodule=data, ckpt_path=start.checkpoint if start is not None else None, weights_only=True)
    if trainer.is_global_zero and trainer.global_step >= trainer.max_steps and not was_preempted(trainer):
        folder.note_end(trainer.global_step)


def advice(error: NotFiniteError, folder: RunFolder, data: TrainingData) -> str:
    """Return which examples the steps were made of, the last checkpoint before them, and what may help."""
    first, last = data.samples_after(error.first_step - 1), data.samples_after(error.last_step) - 1
    before = [path for path in folder.saved() if step_of(path) < error.first_step]
    good = next((path for path in reversed(before) if is_whole(path)), None)
    return (
        f"examples {first} to {last} of the stream. The last good checkpoint is {good or 'none'}. Lower "
        "optimizer.lr or gradient_clip_val, or lengthen schedule.warmup_steps, and continue with resume=<checkpoint>"
    )
