"""The page about a search: how it stands, its trials sorted, its charts, and the winner to run again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bert_lightning.reports.charts import Chart
from bert_lightning.reports.page import render
from bert_lightning.reports.run_page import Figure
from bert_lightning.reports.sweep_charts import Dimension, curves, history, importance_bars, parallel_coordinates
from bert_lightning.reports.trial_row import COMPLETE, PRUNED, TrialRow, best_first, best_of, shown
from data_pipeline.whole_numbers import number_of


@dataclass(frozen=True, slots=True)
class SweepPage:
    """What the page shows.

    Attributes:
        name: Name of the search.
        metric: Its metric.
        direction: "minimize" or "maximize".
        rows: Its trials, by number.
        dimensions: What it searches.
        importance: Share of the metric that each key decides.
        command: The line that trains with the values of the winner; None if no trial is complete.
        fixed: Settings that all trials share, by key.
    """

    name: str
    metric: str
    direction: str
    rows: Sequence[TrialRow]
    dimensions: Sequence[Dimension]
    importance: Mapping[str, float]
    command: str | None
    fixed: Mapping[str, str]

    @property
    def best(self) -> TrialRow | None:
        """The best trial that is complete."""
        return best_of(self.rows, self.direction)

    @property
    def standing(self) -> str:
        """How the search stands, in one line."""
        counts = Counter(row.state for row in self.rows)
        states = ", ".join(f"{number} {state}" for state, number in counts.items())
        return f"{number_of(len(self.rows), 'trial')}: {states}; {self.direction} {self.metric}"

    @property
    def figures(self) -> list[Figure]:
        """The figures on cards."""
        best, steps = self.best, sum(row.steps for row in self.rows)
        hours = sum(row.seconds for row in self.rows) / 3600
        made = [row.steps for row in self.rows if row.state in (COMPLETE, PRUNED)]
        whole = max(made, default=0) * len(made)
        return [
            Figure(f"{best.value:.4f}" if best is not None and best.value is not None else "-", f"best {self.metric}"),
            Figure(f"{best.number}" if best is not None else "-", "number of the best trial"),
            Figure(f"{steps:,}", "steps of all trials"),
            Figure(f"{sum(made) / whole:.0%}" if whole else "-", "of the steps without pruning"),
            Figure(f"{hours:.2f}", "hours of training"),
        ]

    @property
    def head(self) -> list[str]:
        """The columns of the table of trials."""
        keys = [dimension.key for dimension in self.dimensions]
        return ["trial", "state", self.metric, *keys, "steps", "minutes", "folder"]

    @property
    def sorted_rows(self) -> list[tuple[bool, list[str]]]:
        """Whether a trial is the best, and its cells; the best trial first."""
        return [(row is self.best, self._cells(row)) for row in best_first(self.rows, self.direction)]

    def _cells(self, row: TrialRow) -> list[str]:
        keys = [dimension.key for dimension in self.dimensions]
        return [
            str(row.number),
            row.state,
            "-" if row.value is None else f"{row.value:.4f}",
            *(shown(row.values[key]) if key in row.values else "-" for key in keys),
            f"{row.steps:,}",
            f"{row.seconds / 60:.1f}",
            row.run_dir if row.error is None else f"{row.run_dir}: {row.error}",
        ]

    @property
    def parallel(self) -> Chart | None:
        """The chart of all dimensions; None as long as no trial is complete."""
        return parallel_coordinates(self.rows, self.dimensions, self.metric, self.direction)

    @property
    def charts(self) -> list[Chart]:
        """The other charts."""
        charts = (
            history(self.rows, self.metric, self.direction),
            curves(self.rows, self.best, self.metric),
            importance_bars(self.importance),
        )
        return [chart for chart in charts if chart is not None]


def sweep_page(page: SweepPage) -> str:
    """Return the page as HTML that needs no other file."""
    return str(render("sweep.html.j2", page=page))
