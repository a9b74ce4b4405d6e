"""Checkpoints as artifacts of W&B: uploaded once, when the run ends, so that no upload outlives its file."""

import logging
from pathlib import Path
from typing import Any

from bert_lightning.settings.run_folder import RunFolder, step_of
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)
LAST, BEST, BOTH = "last", "best", "both"


def check_uploads(checkpoints: str | None) -> None:
    """Raise a ValueError if the setting is none of those that are known."""
    if checkpoints not in (None, LAST, BEST, BOTH):
        raise ValueError(f"logger.wandb.checkpoints must be one of null, last, best, both; got {checkpoints}")


def upload_checkpoints(run: Any, folder: RunFolder, which: str) -> None:
    """Log the checkpoints of a run as versions of one artifact; a version is named after its step, and last or best.

    Args:
        run: The run of W&B.
        folder: Folder of the run.
        which: "last", "best" or "both".
    """
    import wandb

    for path, names in chosen(folder, which).items():
        artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model", metadata={"step": step_of(path)})
        try:
            if path.is_dir():
                artifact.add_dir(str(path), name=path.name)
            else:
                artifact.add_file(str(path), name=path.name)
            run.log_artifact(artifact, aliases=[*names, path.stem])
        except Exception as error:  # whatever W&B raises, the run has ended well
            log.warning("W&B does not get %s: %s", path, printable(str(error)))


def chosen(folder: RunFolder, which: str) -> dict[Path, list[str]]:
    """Return the checkpoints to upload and why; the best one only if the run keeps it."""
    saved = folder.saved()
    reasons: dict[Path, list[str]] = {}
    if which in (LAST, BOTH) and saved:
        reasons[saved[-1]] = [LAST]
    if which in (BEST, BOTH) and (best := folder.best_checkpoint()) is not None:
        reasons.setdefault(best, []).append(BEST)
    return reasons
