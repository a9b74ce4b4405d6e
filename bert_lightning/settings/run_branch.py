"""The branch that a run is on: where a resume from a named checkpoint began, and which launch asked for it.

A run that goes back to an older checkpoint leaves its newer steps behind. The record of that decides what counts: as
soon as it is written, the newer checkpoints are no checkpoints of the run any more, though they still have to be moved.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from data_pipeline.untrusted.bounded_json import read_object
from data_pipeline.untrusted.typed_fields import build

_LAUNCHES = ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")
_RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")


@dataclass(frozen=True, slots=True)
class Branch:
    """What a run remembers of its last resume from a named checkpoint.

    Attributes:
        origin: Absolute path of the checkpoint that was named; empty if none was.
        launch: The launch that named it, as `launch_of` returns it.
        step: Last step of the run that the branch keeps; 0 if the named checkpoint is of another run.
        number: Number of the folder that what is newer than `step` is moved to.
        complete: Whether all of it has been moved.
    """

    origin: str
    launch: str
    step: int
    number: int
    complete: bool

    def text(self) -> str:
        """Return the branch as the text of its file."""
        return json.dumps(asdict(self))

    def is_gone_on_with(self, checkpoint: Path, environment: Mapping[str, str] = os.environ) -> bool:
        """Return whether this process is a restart of the launch that named a checkpoint and has begun from it.

        torchrun and SLURM give the same command again, and it must not go back a second time.

        Args:
            checkpoint: The checkpoint that the command names.
            environment: The variables that torchrun and SLURM set.
        """
        is_restart = any(environment.get(name, "0") not in ("", "0") for name in _RESTARTS)
        same_launch = self.launch != "" and self.launch == launch_of(environment)
        return self.complete and is_restart and same_launch and self.origin == str(checkpoint.absolute())


def launch_of(environment: Mapping[str, str] = os.environ) -> str:
    """Return a name that a launch keeps when SLURM or torchrun starts its processes again; empty without either.

    >>> launch_of({"SLURM_JOB_ID": "12", "TORCHELASTIC_RUN_ID": "a"}), launch_of({})
    ('12', '')
    """
    return next((environment[name] for name in _LAUNCHES if environment.get(name)), "")


def read_branch(file: Path) -> Branch | None:
    """Return the branch that a file records, None if there is no file.

    Raises:
        ValueError: naming the file and what is wrong in it.
    """
    content = read_object(file)
    return None if content is None else build(Branch, content, str(file))
