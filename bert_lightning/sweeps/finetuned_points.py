"""The points of a sweep of bert-finetune: what has become of them, by their scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from bert_lightning.settings.finetuned_folder import FinetunedFolder
from bert_lightning.sweeps.folder_kinds import FINETUNING, SUITE, VARIANTS, kind_of
from bert_lightning.sweeps.outcomes import Outcome
from data_pipeline.untrusted.escaping import printable


class FinetunedPoints:
    """Points that are fine-tunings, each of some seeds."""

    def is_finished(self, settings: DictConfig) -> bool:
        """Return False: bert-finetune itself tells which seeds are finished with these settings."""
        return False

    def has_come_to_its_end(self, settings: DictConfig) -> bool:
        """Return False: bert-finetune itself refuses a folder of other settings."""
        return False

    def status(self, settings: DictConfig, has_run: bool) -> str:
        """Return "finished", "stopped" or "not started".

        Args:
            settings: Settings of the point.
            has_run: Whether this start has run it.
        """
        path = Path(settings.run_dir)
        kind = kind_of(path)
        if kind in (SUITE, VARIANTS):
            return "finished"
        if _scores(path).get("values", {}).keys() >= set(
            map(str, range(settings.seed, settings.seed + settings.seeds))
        ):
            return "finished"
        return "stopped" if has_run or kind == FINETUNING else "not started"

    def table(self, outcomes: Sequence[Outcome]) -> Table:
        """Return one row a point: what it overrides, its status, the score that chose its checkpoint, its folder."""
        table = Table("point", "status", "score", "mean", "spread", "folder")
        for outcome in outcomes:
            run_dir = outcome.point.run_dir
            found = _scores(run_dir) if run_dir is not None else {}
            numbers = (found.get(name) for name in ("mean", "standard_deviation"))
            shown = ("-" if number is None else f"{number:.4f}" for number in numbers)
            row = (outcome.point.swept or "-", outcome.status, found.get("name", "-"), *shown, f"{run_dir or '-'}")
            table.add_row(*map(printable, row))
        for column in table.columns:
            column.overflow = "fold"
        return table


def _scores(path: Path) -> Mapping[str, Any]:
    """Return mean, standard deviation and values of the score that chose the checkpoints, and its name; or nothing."""
    scores = FinetunedFolder(path).read_scores()
    if scores is None:
        return {}
    return {"name": scores["chosen_by"], **scores["metrics"][scores["chosen_by"]]}
