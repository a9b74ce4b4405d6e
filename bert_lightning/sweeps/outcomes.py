"""What has become of the points of a sweep: read from their folders, and shown as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.config import filled_in
from bert_lightning.settings.phase_settings import FROM_DATA, complete_phases
from bert_lightning.settings.run_folder import RunFolder, step_of
from bert_lightning.sweeps.points import Point
from bert_lightning.sweeps.same_settings import decisive
from bert_lightning.training.validation_turns import lacks_validation
from data_pipeline.untrusted.escaping import printable

FILLED_IN = ("model.vocab_size", "model.pad_token_id", "trainer.limit_val_batches")
"""Keys that a run may have otherwise in its config.yaml than on the command line and still be the same run."""

STEPS = ("trainer.max_steps", "schedule.max_steps")
"""Keys that follow from trainer.max_tokens if it is given."""


@dataclass(frozen=True, slots=True)
class Results:
    """What the folder of a run says.

    Attributes:
        step: The last step with a metric or a checkpoint, 0 without any.
        last_loss: The last val/loss.
        best_loss: The lowest val/loss.
    """

    step: int = 0
    last_loss: float | None = None
    best_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one point.

    Attributes:
        point: The point.
        status: "finished", "stopped", "failed", "not started", "was finished" by an earlier start, or
            "was finished otherwise", with other settings than those of the point: the results are not of them.
        error: Why it failed, in one line.
    """

    point: Point
    status: str
    error: str | None = None


def results(run_dir: Path) -> Results:
    """Return what the folder of a run says."""
    folder = RunFolder(run_dir)
    columns = read_columns(folder.metrics)
    steps = [step for found, _ in columns.values() for step in found] + [step_of(path) for path in folder.saved()]
    losses = columns.get("val/loss", ([], []))[1]
    return Results(max(steps, default=0), losses[-1] if losses else None, min(losses, default=None))


def planned_steps(settings: DictConfig) -> float:
    """Return the steps of a run; if they follow from trainer.max_tokens, the run itself has noted them in its folder.

    Infinitely many if it has not begun.
    """
    if settings.trainer.get("max_tokens") is None:
        return float(settings.trainer.max_steps)
    noted = RunFolder(settings.run_dir).config
    return float(OmegaConf.load(noted).trainer.max_steps) if noted.exists() else math.inf


def has_come_to_its_end(settings: DictConfig) -> bool:
    """Return whether the run in the folder of these settings, whatever its own, has made all their steps and saved.

    The name of a checkpoint says so, because it has that name only once it is whole; who uses its weights reads them.
    """
    saved = RunFolder(settings.run_dir).saved()
    return bool(saved) and step_of(saved[-1]) >= planned_steps(settings)


def is_finished(settings: DictConfig) -> bool:
    """Return whether a run with these settings has been trained to its end, saved and validated.

    Settings that change nothing that a run reaches, and the folder that it lies in, may differ.
    """
    folder = RunFolder(settings.run_dir)
    if not has_come_to_its_end(settings) or not folder.config.exists():
        return False
    noted = OmegaConf.load(folder.config)
    assert isinstance(noted, DictConfig)
    if noted.trainer.limit_val_batches != 0 and lacks_validation(folder, noted.trainer.max_steps):
        return False
    before, now = decisive(noted), decisive(_with_phases(settings, noted))
    filled_in = {*FILLED_IN, *(STEPS if settings.trainer.get("max_tokens") is not None else ())}
    return all(before.get(key) == now.get(key) for key in {*before, *now} - filled_in)


class RunPoints:
    """Points that are runs of pre-training."""

    def is_finished(self, settings: DictConfig) -> bool:
        """Return whether the run of a point needs no other start."""
        return is_finished(settings)

    def has_come_to_its_end(self, settings: DictConfig) -> bool:
        """Return whether a run in the folder of the point has come to its end, with whatever settings."""
        return has_come_to_its_end(settings)

    def status(self, settings: DictConfig, has_run: bool) -> str:
        """Return "finished", "stopped" or "not started".

        Args:
            settings: Settings of the point.
            has_run: Whether this start has run it.
        """
        step = results(Path(settings.run_dir)).step
        if not has_run and not step:
            return "not started"
        return "finished" if step >= planned_steps(settings) else "stopped"

    def table(self, outcomes: Sequence[Outcome]) -> Table:
        """Return one row a point: what it overrides, its status, steps, last and best val/loss, and its folder."""
        return outcomes_table(outcomes)


def _with_phases(settings: DictConfig, noted: Any) -> DictConfig:
    """Return settings with complete phases, as a run notes them; as they are if they have none."""
    if settings.get("phases") is None:
        return settings
    has_budget = settings.trainer.get("max_tokens") is not None
    steps = {"trainer": {"max_steps": noted.trainer.max_steps}} if has_budget else {}
    phases = complete_phases(filled_in(settings, steps))
    return filled_in(settings, {"phases": phases, "data": {name: phases[-1][name] for name in FROM_DATA}})


def outcomes_table(outcomes: Sequence[Outcome]) -> Table:
    """Return one row a point: what it overrides, its status, steps, last and best val/loss, and its folder."""
    table = Table("point", "status", "step", "val/loss", "best", "folder")
    for outcome in outcomes:
        run_dir = outcome.point.run_dir
        found = results(run_dir) if run_dir and outcome.status != "not started" else Results()
        losses = ("-" if loss is None else f"{loss:.4f}" for loss in (found.last_loss, found.best_loss))
        row = (outcome.point.swept or "-", outcome.status, f"{found.step}", *losses, f"{run_dir or '-'}")
        table.add_row(*map(printable, row))
    for column in table.columns:
        column.overflow = "fold"
    return table
