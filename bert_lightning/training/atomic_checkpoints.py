"""Checkpoint files that appear whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bert_lightning.checkpoints.checkpoint import read_checkpoint
from bert_lightning.settings.run_folder import partial_path
from data_pipeline.processes.child_processes import lost_process
from data_pipeline.processes.machine_faults import MachineError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint file to the disk it belongs on, flush it, then give it its name.

    Lightning's own transaction goes through the system's temporary folder, which may be another disk: moving the file
    from there is a copy that a kill or a full disk cuts short under the final name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save `checkpoint` as one file."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(target)
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch turns the error of a write into a RuntimeError
            partial.unlink(missing_ok=True)
            if lost_process(error) is not None:  # it is raised wherever the main process is at the time
                raise
            raise MachineError(f"{target} could not be saved: {error}") from error
        partial.replace(target)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint file, or a folder that the sharded strategy has written."""
        return read_checkpoint(Path(path))
