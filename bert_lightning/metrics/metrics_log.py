"""Where metrics go: one metrics.csv per run that survives resumes, and Weights & Biases.

Both take the optimizer step as their only axis. Lightning's CSVLogger deletes the file of an earlier part of the run,
and its WandbLogger counts calls, which an offline resume begins again at 0.
"""

import csv
import logging
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

log = logging.getLogger(__name__)
STEP = "step"


class MetricsCsv(Logger):
    """One row per step, one column per metric, rewritten atomically at every change.

    The first value of a process at step s removes the rows after s, which an interrupted part of the run has written
    and which are made again; so a resumed run ends with exactly the rows of one that was never stopped.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._rows: dict[int, dict[str, str]] | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def version(self) -> int:
        """There is one file per run."""
        return 0

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Settings are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of a step."""
        if step is None:
            raise ValueError("metrics.csv needs the step of every value")
        if self._rows is None:
            self._rows = {number: row for number, row in read_rows(self.path).items() if number <= step}
        row = self._rows.setdefault(step, {STEP: str(step)})
        row.update({name: repr(float(value)) for name, value in metrics.items()})
        try:
            self._write(self._rows)
        except OSError as error:  # all rows are written again with the next
            log.warning("%s is not up to date: %s", self.path, error)

    def _write(self, rows: Mapping[int, Mapping[str, str]]) -> None:
        columns = [STEP, *sorted({name for row in rows.values() for name in row} - {STEP})]
        partial = self.path.with_name(f".{self.path.name}.partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for _, row in sorted(rows.items()))
        partial.replace(self.path)


def read_rows(path: Path) -> dict[int, dict[str, str]]:
    """Return the cells of a metrics.csv that are not empty, by step; nothing where there is no file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {int(row[STEP]): {name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)}


def read_columns(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Return the steps and values of every column of a metrics.csv."""
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for step, row in sorted(read_rows(path).items()):
        for name, cell in row.items():
            if name != STEP:
                steps, values = columns.setdefault(name, ([], []))
                steps.append(step)
                values.append(float(cell))
    return columns


def has_wandb_account() -> bool:
    """Return whether W&B finds a key: in the environment, or where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class WandbMetrics(WandbLogger):
    """W&B, online where somebody is logged in, else offline; WANDB_MODE decides where it is set.

    Args:
        run_name: Name and id of the run, so that a resumed run continues its curves.
        project: Name of the project.
        run_dir: Folder in which W&B keeps its own.
        **options: For `wandb.init`, such as entity, group or tags.
    """

    def __init__(self, run_name: str, project: str, run_dir: str | Path, **options: Any) -> None:
        mode = os.environ.get("WANDB_MODE") or ("online" if has_wandb_account() else "offline")
        super().__init__(name=run_name, id=run_name, project=project, save_dir=run_dir, mode=mode, **options)
        del self._wandb_init["anonymous"]  # W&B warns about it even where it is None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; without a connection an offline one, which `wandb sync` uploads later."""
        import wandb

        if self._experiment is None:
            Path(str(self.save_dir)).mkdir(parents=True, exist_ok=True)
            settings = wandb.Settings(console="off", silent=True)
            try:
                self._experiment = wandb.init(settings=settings, **self._wandb_init)
            except wandb.errors.Error as error:
                log.warning("W&B is not reachable, the run is kept offline: %s", error)
                self._experiment = wandb.init(settings=settings, **(self._wandb_init | {"mode": "offline"}))
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values at a step."""
        self.experiment.log(dict(metrics), step=step)
