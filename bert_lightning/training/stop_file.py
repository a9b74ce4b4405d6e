"""The file that tells a job of a sweep to save and end, on whatever machine the job runs.

The sweep gives its name to the job by a variable of the environment, which is no setting of the run.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

VARIABLE = "BERT_LIGHTNING_STOP_FILE"
LOOK_SECONDS = 2.0
"""Seconds between two looks whether the file is there."""


def stop_file_of(run_dir: Path) -> Path:
    """Return the file by which the point of a sweep is told to save and end.

    Args:
        run_dir: Folder of the point.
    """
    return run_dir.absolute() / ".stop"


class StopFile:
    """Looks now and then whether the file is there.

    Args:
        clock: Seconds since any moment.
        environment: The variables of this process.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._path = environment.get(VARIABLE)
        self._clock = clock
        self._looked = clock()

    def is_there(self) -> bool:
        """Return whether the file is there; what was seen is at most `LOOK_SECONDS` old."""
        if self._path is None or self._clock() - self._looked < LOOK_SECONDS:
            return False
        self._looked = self._clock()
        return os.path.exists(self._path)
