"""The folder of a run that is about to begin: held, cleared of what is newer, with its settings; and what is said."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from bert_lightning.checkpoints.checkpoint import is_whole
from bert_lightning.settings.config import Processes, is_first_process, restarts_would_fail, unused_gpus
from bert_lightning.settings.run_folder import RunFolder, step_of, write_whole
from bert_lightning.training.going_back import set_newer_aside
from bert_lightning.training.starting_point import StartingPoint, find_checkpoint
from bert_lightning.training.step_guard import NotFiniteError
from bert_lightning.training.training_data import TrainingData

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
    checkpoint = start.checkpoint if start is not None else None
    with folder.locked() as has_waited:
        if has_waited and find_checkpoint(resume, folder) != checkpoint:
            raise ValueError(f"another run has meanwhile gone on in {folder.path}; give the same command again")
        if restarts_would_fail():
            log.warning(
                "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, or its restarts may not find each other"
            )
        if unused := unused_gpus(processes, torch.cuda.device_count()):
            log.warning("%s %s", folder.path.name, unused)
        with folder.logged():
            set_newer_aside(folder, start, resume)
            write_whole(folder.config, settings)
            for line in said:
                log.info("%s", line)
            yield


def advice(error: NotFiniteError, folder: RunFolder, data: TrainingData) -> str:
    """Return which examples the steps were made of, the last checkpoint before them, and what may help."""
    first, last = data.samples_after(error.first_step - 1), data.samples_after(error.last_step) - 1
    before = [path for path in folder.saved() if step_of(path) < error.first_step]
    good = next((path for path in reversed(before) if is_whole(path)), None)
    return (
        f"examples {first} to {last} of the stream. The last good checkpoint is {good or 'none'}. Lower "
        "optimizer.lr or gradient_clip_val, or lengthen schedule.warmup_steps, and continue with resume=<checkpoint>"
    )
