"""Going back to an older checkpoint: what is newer is set aside, so that everything later follows the new branch.

The folder it is moved to is the folder of a run like any other, which bert-export and `resume` take. A run that is
killed meanwhile leaves a record of what is still to be moved, and what the record names counts no more.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace

from bert_lightning.metrics.metrics_log import drop_rows_after, read_rows
from bert_lightning.settings.run_branch import Branch, launch_of
from bert_lightning.settings.run_folder import RunFolder, partial_path, write_whole
from bert_lightning.training.starting_point import StartingPoint, goes_back
from data_pipeline.untrusted.typed_fields import listed

log = logging.getLogger(__name__)


def set_newer_aside(
    folder: RunFolder, start: StartingPoint | None, resume: str | None, environment: Mapping[str, str] = os.environ
) -> None:
    """Set aside what a run holds that is newer than the checkpoint it goes on from; only the first rank may call it.

    If the checkpoint is of another run, that run is not touched, and all that this one holds is set aside. A run that
    goes on from its newest checkpoint makes the steps after it again: their rows, which may be of other settings, are
    removed, and checkpoints after it, which are damaged, are set aside.

    Args:
        folder: Folder of the run, which this process holds.
        start: The checkpoint, None for a run from the start.
        resume: The setting.
        environment: The variables that torchrun and SLURM set.
    """
    before = folder.branch()
    is_named = start is not None and goes_back(resume, folder, environment)
    last = start.step if start is not None and folder.holds(start.checkpoint) else 0
    is_unfinished = before is not None and not before.complete
    number = before.number if before is not None and is_unfinished else folder.next_set_aside()
    origin, launch = (before.origin, before.launch) if before is not None else ("", "")
    if start is not None and is_named:
        origin, launch = str(start.checkpoint.absolute()), launch_of(environment)
    branch = Branch(origin, launch, last, number, complete=False)
    if is_unfinished or folder.newer_than(last) or (is_named and _steps_noted(folder) > last):
        folder.note_branch(branch)
        _copy(folder, folder.set_aside(number))
        _move(folder, folder.set_aside(number), last)
        folder.note_branch(replace(branch, complete=True))
    elif is_named:
        folder.note_branch(replace(branch, complete=True))
    if start is None:
        folder.branch_file.unlink(missing_ok=True)
    drop_rows_after(folder.metrics, last)
    folder.ended_file.unlink(missing_ok=True)


def _steps_noted(folder: RunFolder) -> int:
    """Return the last step that metrics or digests tell of."""
    digests = len(folder.digests.read_bytes().splitlines()) if folder.digests.exists() else 0
    return max([digests, *read_rows(folder.metrics)])


def _copy(folder: RunFolder, aside: RunFolder) -> None:
    """Copy the files that the run goes on with, if an earlier attempt has not."""
    aside.checkpoints.mkdir(parents=True, exist_ok=True)
    for source, target in (
        (folder.config, aside.config),
        (folder.metrics, aside.metrics),
        (folder.digests, aside.digests),
    ):
        if source.exists() and not target.exists():
            shutil.copyfile(source, partial_path(target))
            partial_path(target).replace(target)


def _move(folder: RunFolder, aside: RunFolder, last: int) -> None:
    """Move what is newer than the last step that stays, and say so in one line."""
    moved = folder.newer_than(last)
    for path in moved:
        path.replace(aside.checkpoints / path.name)
    if folder.best.exists() and folder.best_checkpoint() is None:  # it has been moved, or best.json is damaged
        folder.best.replace(aside.best)
    for source, target in (
        (folder.report, aside.report),
        (folder.wandb, aside.wandb),  # W&B drops rows of steps it has seen, so the new branch is a new run there
        (folder.wandb_id, aside.wandb_id),
    ):
        if source.exists() and not target.exists():
            source.replace(target)
    drop_rows_after(folder.metrics, last)
    if folder.digests.exists():
        write_whole(folder.digests, "".join(folder.digests.read_text().splitlines(keepends=True)[:last]))
    names = f"{listed(path.name for path in moved)} and the metrics" if moved else "the metrics"
    log.warning("what %s held after step %d is set aside: %s are now in %s", folder.path, last, names, aside.path)
