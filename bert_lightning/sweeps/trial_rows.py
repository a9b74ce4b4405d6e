"""The trials of a study as rows, and where they stand: read from the study and from the folders of their runs."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from bert_lightning.callbacks.trial import BY_ITSELF, ENDED, MAX_STEPS, SECONDS
from bert_lightning.reports.trial_row import (
    COMPLETE,
    FAILED,
    PRUNED,
    RUNNING,
    STOPPED,
    WAITING,
    TrialRow,
    best_first,
    shown,
)
from bert_lightning.settings.finetuned_folder import FinetunedFolder
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.sweep_folder import SweepFolder
from bert_lightning.sweeps.outcomes import results
from bert_lightning.sweeps.search_settings import Goal
from bert_lightning.sweeps.search_space import as_text
from bert_lightning.sweeps.study import ERROR, SET_ASIDE
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.typed_fields import checked

STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.WAITING: WAITING,
}


def runs_of(run_dir: Path) -> list[Path]:
    """Return the folders of the runs of a trial: its own, or those of its seeds."""
    return [run_dir, *sorted(run_dir.glob("seed-*"))]


def end_value(trial: FrozenTrial, run_dir: Path, goal: Goal, is_finetuning: bool) -> float | None:
    """Return the metric of a trial that has come to its end, None if it has not.

    A pre-training has its last validation, also if a callback such as EarlyStopping has ended it before its last step.
    A fine-tuning has the mean over its seeds of their best checkpoints.

    Raises:
        ValueError: if the trial has ended and lacks the metric.
    """
    if is_finetuning:
        scores = FinetunedFolder(run_dir).read_scores()
        if scores is None:
            return None
        where = str(FinetunedFolder(run_dir).scores)
        metrics = checked(scores.get("metrics", {}), dict[str, dict[str, object]], where, "metrics")
        if goal.in_scores not in metrics:
            raise ValueError(f"sweep.metric={goal.metric} is none of the metrics of the task: {', '.join(metrics)}")
        return float(checked(metrics[goal.in_scores].get("mean"), float, where, "mean"))
    last, has_ended = trial.last_step, trial.user_attrs.get(ENDED) == BY_ITSELF
    if last is None:
        if has_ended:
            raise ValueError(f"no sweep.metric={goal.metric} was measured")
        return None
    return trial.intermediate_values[last] if has_ended or last >= trial.user_attrs.get(MAX_STEPS, math.inf) else None


class TrialRows:
    """Makes the rows of a study; that of a trial which has ended is made once.

    Args:
        folder: Folder of the search.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._ended: dict[int, TrialRow] = {}

    def __call__(self, trials: Sequence[FrozenTrial]) -> list[TrialRow]:
        """Return a row for each trial."""
        goes_on = RunFolder(self._folder.path).is_held()
        rows = []
        for trial in trials:
            row = self._ended.get(trial.number)
            if row is None:
                run_dir = self._folder.trial(trial.number)
                row = _row(trial, run_dir, goes_on)
                if trial.state.is_finished() and not is_held(run_dir):
                    self._ended[trial.number] = row
            rows.append(row)
        return rows


def trial_rows(trials: Sequence[FrozenTrial], folder: SweepFolder) -> list[TrialRow]:
    """Return a row for each trial of a study."""
    return TrialRows(folder)(trials)


def is_held(run_dir: Path) -> bool:
    """Return whether a process still trains a trial."""
    return any(RunFolder(run).is_held() for run in runs_of(run_dir))


def _row(trial: FrozenTrial, run_dir: Path, goes_on: bool) -> TrialRow:
    state = STATES.get(trial.state)
    if state is None:
        is_trained = goes_on and trial.user_attrs.get(SET_ASIDE) is None
        state = RUNNING if is_trained or is_held(run_dir) else STOPPED
    curve = sorted(trial.intermediate_values.items())
    last = curve[-1][1] if curve else None
    values = trial.params or trial.system_attrs.get("fixed_params", {})
    return TrialRow(
        number=trial.number,
        state=state,
        value=trial.value if trial.value is not None else last,
        values=values,
        run_dir=str(run_dir),
        steps=sum(results(run).step for run in runs_of(run_dir)),
        seconds=float(trial.user_attrs.get(SECONDS, 0.0)),
        curve=([step for step, _ in curve], [value for _, value in curve]),
        error=trial.user_attrs.get(ERROR),
    )


def keys_of(rows: Sequence[TrialRow]) -> list[str]:
    """Return the keys that are searched, in their order."""
    return list(dict.fromkeys(key for row in rows for key in row.values))


def as_csv(rows: Sequence[TrialRow]) -> str:
    """Return the trials as the content of trials.csv."""
    text, keys = io.StringIO(), keys_of(rows)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "value", *keys, "run_dir", "steps", "seconds"])
    for row in rows:
        chosen = [as_text(row.values[key]) if key in row.values else "" for key in keys]
        value = "" if row.value is None else repr(row.value)
        writer.writerow([row.number, row.state, value, *chosen, row.run_dir, row.steps, f"{row.seconds:.1f}"])
    return text.getvalue()


def trials_table(rows: Sequence[TrialRow], metric: str, direction: str) -> Table:
    """Return the trials as a table, the best first; the folder of all of them is its title."""
    parents = {str(Path(row.run_dir).parent) for row in rows}
    table = Table("trial", "state", metric, "step", "chosen", "folder", title=printable(", ".join(sorted(parents))))
    for row in best_first(rows, direction):
        chosen = [printable(f"{key}={shown(value)}") for key, value in row.values.items()]
        value = "-" if row.value is None else f"{row.value:.4f}"
        numbers = map(printable, (str(row.number), row.state, value, str(row.steps)))
        table.add_row(*numbers, "\n".join(chosen), printable(Path(row.run_dir).name))
    for column in table.columns:
        column.overflow = "fold"
    return table


def importance(study: optuna.Study) -> dict[str, float]:
    """Return how much each key decides the metric, as shares of one, the largest first; nothing if it is not known."""
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    try:
        shares = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}
    return {key: share for key, share in shares.items() if math.isfinite(share)}
