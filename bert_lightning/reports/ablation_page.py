"""The page about an ablation: its table, the values of every seed, the curves of its variants over each other."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bokeh.models import BasicTickFormatter, ColumnDataSource, HoverTool

from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.reports.charts import INK, PALETTE, SAYS, Chart, Curve, as_json, line_chart, name_rows, new_drawing
from bert_lightning.reports.page import render
from bert_lightning.settings.run_folder import RunFolder
from data_pipeline.whole_numbers import number_of

CURVES = {
    "val/mlm_loss": ("Held-out MLM loss while training", "nats"),
    "val/mlm_accuracy": ("Held-out MLM accuracy while training", "share"),
    "val/causal_loss": ("Held-out next-token loss while training", "nats"),
    "train/loss": ("Training loss, each of its own objective", "nats"),
}
Values = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class AblationRun:
    """One run of an ablation.

    Attributes:
        variant: Name of the variant.
        seed: The seed.
        status: What has become of the run.
        folder: Its folder.
        is_measured: Whether it has a place in the table.
    """

    variant: str
    seed: str
    status: str
    folder: Path
    is_measured: bool


@dataclass(frozen=True, slots=True)
class AblationPage:
    """What the page shows.

    Attributes:
        name: Name of the ablation.
        lines: Cells of the table, the titles first.
        explanation: What the cells are.
        changes: What each variant changes, by key.
        runs: The runs.
        values: For each metric that has a chart, by its title, the values of every variant by seed.
        command: The line that goes on with the ablation; None if it is not known.
    """

    name: str
    lines: Sequence[Sequence[str]]
    explanation: str
    changes: Mapping[str, Mapping[str, Any]]
    runs: Sequence[AblationRun]
    values: Mapping[str, Values]
    command: str | None

    @property
    def standing(self) -> str:
        """How the ablation stands, in one line."""
        variants, seeds = (len({getattr(run, name) for run in self.runs}) for name in ("variant", "seed"))
        states = Counter("finished" if run.is_measured else run.status.partition(":")[0] for run in self.runs)
        counted = ", ".join(f"{number} {state}" for state, number in states.items())
        runs = number_of(len(self.runs), "run")
        return f"{number_of(variants, 'variant')}, {number_of(seeds, 'seed')}, {runs}: {counted}"

    @property
    def missing(self) -> list[list[str]]:
        """The runs that are not, or not wholly, in the table."""
        missing = (run for run in self.runs if not run.is_measured or run.status.startswith("failed"))
        return [[run.variant, run.seed, run.status, str(run.folder)] for run in missing]

    @property
    def changed(self) -> list[list[str]]:
        """What each variant changes, as rows of a table."""
        return [
            [variant, ", ".join(key if key[0] == "~" else f"{key}={value}" for key, value in changes.items())]
            for variant, changes in self.changes.items()
        ]

    @property
    def charts(self) -> list[Chart]:
        """The values of every metric by variant, and then the curves."""
        dots = (_dots(title, values) for title, values in self.values.items())
        columns = [(run, read_columns(RunFolder(run.folder).metrics)) for run in self.runs]
        charts = [*dots, *(_curves(*words, key, columns, list(self.changes)) for key, words in CURVES.items())]
        return [chart for chart in charts if chart is not None]


def _dots(title: str, values: Values) -> Chart | None:
    """Return the chart of a metric: a row for each variant, a dot for each seed, and a stroke at the mean."""
    finite = {
        variant: {seed: value for seed, value in of_seeds.items() if math.isfinite(value)}
        for variant, of_seeds in values.items()
    }
    if not any(finite.values()):
        return None
    drawing = new_drawing(height=60 + 26 * len(values))
    drawing.xaxis.formatter = BasicTickFormatter()
    drawing.ygrid.visible = False
    rows = {variant: len(values) - 1 - number for number, variant in enumerate(values)}
    for number, (variant, of_seeds) in enumerate(finite.items()):
        if not of_seeds:
            continue
        mean = sum(of_seeds.values()) / len(of_seeds)
        y, said = rows[variant], f"{variant}, mean of {number_of(len(of_seeds), 'seed')}: {mean:.4g}"
        stroke = ColumnDataSource({"x": [mean] * 2, "y": [y - 0.3, y + 0.3], "said": [said] * 2})
        line = drawing.line("x", "y", source=stroke, line_color=INK, line_width=2.4)
        words = [f"{variant}, seed {seed}: {value:.4g}" for seed, value in of_seeds.items()]
        source = ColumnDataSource({"x": list(of_seeds.values()), "y": [y] * len(words), "said": words})
        dots = drawing.scatter("x", "y", source=source, color=PALETTE[number % len(PALETTE)], size=8)
        drawing.add_tools(HoverTool(tooltips=SAYS, renderers=[dots, line]))
    name_rows(drawing, {row: variant for variant, row in rows.items()})
    return Chart(title, "", "a dot is a seed, the stroke is the mean", [], as_json(drawing))


def _curves(
    title: str,
    unit: str,
    key: str,
    columns: Sequence[tuple[AblationRun, Mapping[str, tuple[list[int], list[float]]]]],
    variants: Sequence[str],
) -> Chart | None:
    """Return the chart of a column of metrics.csv by step: a curve for each run, a color for each variant."""
    colors = {variant: PALETTE[number % len(PALETTE)] for number, variant in enumerate(variants)}
    curves = [
        Curve(f"{run.variant}, seed {run.seed}", *of_run[key], colors[run.variant])
        for run, of_run in columns
        if key in of_run
    ]
    chart = line_chart(title, unit, curves)
    drawn = {run.variant for run, of_run in columns if key in of_run}
    legend = [(variant, color) for variant, color in colors.items() if variant in drawn]
    return None if chart is None else replace(chart, legend=legend)


def ablation_page(page: AblationPage) -> str:
    """Return the page as HTML that needs no other file."""
    return str(render("ablation.html.j2", page=page))
