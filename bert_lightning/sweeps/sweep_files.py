"""What a search leaves behind besides its runs: trials.csv and report.html, both made from the study alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.study import StudyDirection

from bert_lightning.callbacks.checkpointing import remove_checkpoint
from bert_lightning.reports.sweep_charts import Dimension
from bert_lightning.reports.sweep_page import SweepPage, sweep_page
from bert_lightning.reports.trial_row import RUNNING, STOPPED, TrialRow
from bert_lightning.settings.run_folder import RunFolder, write_whole
from bert_lightning.settings.sweep_folder import SweepFolder
from bert_lightning.sweeps.search_space import as_text
from bert_lightning.sweeps.study import FIXED, METRIC, PROGRAM, SPACE
from bert_lightning.sweeps.trial_rows import as_csv, importance, runs_of
from bert_lightning.sweeps.winner import command


def write_trials(folder: SweepFolder, rows: Sequence[TrialRow]) -> None:
    """Write trials.csv."""
    folder.path.mkdir(parents=True, exist_ok=True)
    write_whole(folder.trials, as_csv(rows))


def direction_of(study: optuna.Study) -> str:
    """Return "minimize" or "maximize"."""
    return "maximize" if study.direction == StudyDirection.MAXIMIZE else "minimize"


def page_of(folder: SweepFolder, study: optuna.Study, rows: Sequence[TrialRow]) -> SweepPage:
    """Return what the page about a search shows."""
    attributes = study.user_attrs
    fixed: Mapping[str, str] = attributes.get(FIXED, {})
    dimensions = [_dimension(key, json_to_distribution(text)) for key, text in attributes.get(SPACE, {}).items()]
    args = (study.study_name, attributes.get(METRIC, "value"), direction_of(study), rows, dimensions)
    page = SweepPage(*args, importance(study), None, fixed)
    if page.best is None:
        return page
    overrides = [f"{key}={value}" if value or key[0] != "~" else key for key, value in fixed.items()]
    overrides += [f"{key}={as_text(value)}" for key, value in page.best.values.items()]
    line = command(attributes.get(PROGRAM, ["bert-pretrain"]), overrides, f"{folder.path.name}-best")
    return SweepPage(*args, page.importance, line, fixed)


def write_search_report(folder: SweepFolder, study: optuna.Study, rows: Sequence[TrialRow]) -> None:
    """Write report.html."""
    write_whole(folder.report, sweep_page(page_of(folder, study, rows)))


def remove_weights(rows: Sequence[TrialRow], best: TrialRow | None) -> None:
    """Remove the checkpoints of all trials that have ended but the best."""
    ended = (row for row in rows if row is not best and row.state not in (RUNNING, STOPPED))
    for run in (run for row in ended for run in runs_of(Path(row.run_dir))):
        for checkpoint in RunFolder(run).newer_than(-1):
            remove_checkpoint(checkpoint)


def _dimension(key: str, distribution: BaseDistribution) -> Dimension:
    if isinstance(distribution, CategoricalDistribution):
        return Dimension(key, tuple(distribution.choices))
    numeric = distribution
    return Dimension(key, (), numeric.low, numeric.high, numeric.log)  # type: ignore[attr-defined]
