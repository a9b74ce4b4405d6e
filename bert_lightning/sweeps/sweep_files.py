"""What a search leaves behind besides its runs: trials.csv and report.html, made from the study, and best.yaml."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.study import StudyDirection

from bert_lightning.callbacks.checkpointing import remove_checkpoint
from bert_lightning.reports.sweep_charts import Dimension
from bert_lightning.reports.sweep_page import SweepPage, sweep_page
from bert_lightning.reports.trial_row import RUNNING, STOPPED, TrialRow, best_of
from bert_lightning.settings.run_folder import RunFolder, write_whole
from bert_lightning.settings.sweep_folder import SweepFolder
from bert_lightning.sweeps.search_space import as_text
from bert_lightning.sweeps.study import FIXED, METRIC, PROGRAM, SPACE
from bert_lightning.sweeps.trial_rows import as_csv, importance, runs_of
from bert_lightning.sweeps.winner import BaseConfig, command
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)


class SearchFiles:
    """Writes what a search has reached. A file that cannot be written is named, and the search goes on.

    Args:
        folder: Folder of the search.
        direction: "minimize" or "maximize".
        keeps_all: Whether the checkpoints of all trials stay; else those of the best alone.
        winner: Returns the config of a trial, and what that is built upon.
    """

    def __init__(
        self,
        folder: SweepFolder,
        direction: str,
        keeps_all: bool,
        winner: Callable[[TrialRow], tuple[str, BaseConfig]],
    ) -> None:
        self._folder = folder
        self._direction = direction
        self._keeps_all = keeps_all
        self._winner = winner
        self._best_number = -1

    def write_table(self, rows: Sequence[TrialRow]) -> None:
        """Write trials.csv."""
        with _search_goes_on(self._folder.trials):
            write_trials(self._folder, rows)

    def write(self, study: optuna.Study, rows: Sequence[TrialRow]) -> None:
        """Write all files, and remove the checkpoints that are not to stay."""
        self.write_table(rows)
        best = best_of(rows, self._direction)
        if best is not None and best.number != self._best_number:
            with _search_goes_on(self._folder.best):
                self._write_winner(best)
        with _search_goes_on(self._folder.report):
            write_whole(self._folder.report, search_page(self._folder, study, rows))
        if not self._keeps_all:
            remove_weights(rows, best)

    def _write_winner(self, best: TrialRow) -> None:
        text, base = self._winner(best)
        if base.content is not None:
            write_whole(self._folder.base, base.content)
        write_whole(self._folder.best, text)
        self._best_number = best.number


@contextmanager
def _search_goes_on(path: Path) -> Iterator[None]:
    """Name a file that cannot be written, for whatever reason: no page is worth the trials of a search."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        log.warning("%s is not written, the search goes on: %s", path, printable(said))


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


def search_page(folder: SweepFolder, study: optuna.Study, rows: Sequence[TrialRow]) -> str:
    """Return the content of report.html."""
    return sweep_page(page_of(folder, study, rows))


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
