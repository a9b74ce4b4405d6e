"""What the page about a run shows, read from the folder of the run alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_lightning.metrics.metrics_log import STEP, read_columns
from bert_lightning.reports.charts import BLUE, ORANGE, PALE_BLUE, RED, Chart, Curve, line_chart, stacked_bars
from bert_lightning.reports.guessing import Beside, beside_guessing
from bert_lightning.reports.shown_quantities import ShownQuantity, read_shown
from bert_lightning.settings.run_about import About, read_about
from bert_lightning.settings.run_folder import RunFolder
from data_pipeline.untrusted.bounded_json import read_object
from data_pipeline.untrusted.typed_fields import checked, entry

Columns = dict[str, tuple[list[int], list[float]]]

# Title, unit, and the columns of each chart with their names in the legend. Those of the objective follow the first.
CHARTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Loss", "nats", {"train/loss": "training", "val/loss": "held-out"}),
    ("Learning rate", "", {"optim/lr": "learning rate"}),
    ("Gradient norm", "", {"optim/grad_norm": "before clipping"}),
    ("Speed", "tokens/s", {"throughput/tokens_per_second": "real tokens"}),
    ("Use of the hardware", "share", {"throughput/mfu": "MFU", "throughput/data_wait": "waiting for data"}),
)
FIGURES = (
    ("throughput/tokens_per_second", "real tokens per second", "{:,.0f}"),
    ("throughput/mfu", "of the hardware's peak", "{:.1%}"),
    ("progress/tokens", "tokens seen", "{:,.0f}"),
    ("progress/epoch", "passes over the corpus", "{:.2f}"),
)
COLORS = {"training": PALE_BLUE, "held-out": RED}
PHASE_COLORS = {"forward": BLUE, "backward": "#86bbd8", "optimizer": ORANGE, "around": "#8a9099"}
MOST_ROWS = 40
"""Rows of a table of examples that a page still shows."""
MOST_MODULES = 12
SENTENCE = "sentence"
"""Column of a table of examples that several rows share."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure on a card: its value in words, and what it is."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class ExampleTable:
    """A table that the run has logged, such as guesses for held-out sentences."""

    name: str
    step: int
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of a step goes: settings of the profile, a chart, and milliseconds of every part of the model."""

    settings: Mapping[str, str]
    step_milliseconds: float
    chart: Chart
    modules: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RunPage:
    """What the page about a run shows.

    Attributes:
        name: Name of the run.
        columns: Steps and values of every metric.
        quantities: How those of the objective are shown.
        about: What the run is.
        tables: Tables of examples.
        profile: Where the time of a step goes; None if no step was profiled.
        settings: The settings.
    """

    name: str
    columns: Columns
    quantities: Sequence[ShownQuantity]
    about: About
    tables: Sequence[ExampleTable]
    profile: Profile | None
    settings: str

    @property
    def last_step(self) -> int:
        """The last step with a metric."""
        return max(steps[-1] for steps, _ in self.columns.values())

    @property
    def skipped_steps(self) -> int:
        """Number of steps that were skipped."""
        return int(self.columns.get("train/skipped_steps", ([0], [0.0]))[1][-1])

    @property
    def last(self) -> dict[str, float]:
        """Last value of every metric, by name."""
        return {name: values[-1] for name, (_, values) in sorted(self.columns.items())}

    @property
    def figures(self) -> list[Figure]:
        """The figures on cards: what is measured on held-out text, then size and speed."""
        held_out = [(f"val/{shown.name}", f"held-out {shown.title}", shown.format) for shown in self.quantities]
        last, size = self.last, self.about.encoder_parameters
        cards = [Figure(form.format(last[key]), label) for key, label, form in [*held_out, *FIGURES] if key in last]
        return [*cards, Figure(f"{size:,}", "weights of the encoder")] if size else cards

    @property
    def split_rows(self) -> list[list[str]]:
        """Documents, sentences, tokens and bytes of every split of the data."""
        splits = self.about.data.splits if self.about.data is not None else {}
        names = ("documents", "sentences", "tokens", "bytes")
        return [[split, *(f"{totals.get(name, 0):,}" for name in names)] for split, totals in splits.items()]

    @property
    def beside_guessing(self) -> list[Beside]:
        """What was measured beside guessing."""
        return beside_guessing(self.last, self.about.guessing, self.quantities)

    @property
    def charts(self) -> list[Chart]:
        """The curves: the loss, the quantities of the objective, then the optimizer and the speed."""
        of_objective = [
            (shown.title, shown.unit, {f"train/{shown.name}": "training", f"val/{shown.name}": "held-out"})
            for shown in self.quantities
            if shown.unit
        ]
        charts = (self._chart(*each) for each in [CHARTS[0], *of_objective, *CHARTS[1:]])
        return [chart for chart in charts if chart is not None]

    def _chart(self, title: str, unit: str, series: Mapping[str, str]) -> Chart | None:
        colors = (BLUE, ORANGE)
        curves = [
            Curve(label, *self.columns[key], COLORS.get(label, colors[number % 2]))
            for number, (key, label) in enumerate(series.items())
            if key in self.columns
        ]
        return line_chart(title, unit, curves)


def read_run(path: Path) -> RunPage:
    """Return what the page about a run shows.

    Raises:
        ValueError: if the folder has no metrics, or one of its files is damaged.
    """
    folder = RunFolder(path)
    columns = read_columns(folder.metrics)
    if not columns:
        raise ValueError(f"{path} has no {folder.metrics.name} with values to report")
    return RunPage(
        name=path.resolve().name,
        columns=columns,
        quantities=read_shown(folder.quantities),
        about=read_about(folder.about),
        tables=[_table(file) for file in sorted(folder.tables.glob("*.json"))],
        profile=_profile(folder.profile),
        settings=folder.config.read_text(encoding="utf-8") if folder.config.exists() else "",
    )


def _table(path: Path) -> ExampleTable:
    content, where = read_object(path) or {}, str(path)
    columns = checked(entry(content, "columns", where=where), list[str], where, "columns")
    rows = checked(entry(content, "rows", where=where), list[list[object]], where, "rows")
    step = checked(content.get("step", 0), int, where, "step")
    shown = [number for number, column in enumerate(columns) if column != STEP]  # the page says the step once
    kept = sorted(shown, key=lambda number: columns[number] != SENTENCE)
    if SENTENCE in columns:
        rows = _by_sentence(rows, columns.index(SENTENCE))
    cells = [[_in_words(row[number]) for number in kept if number < len(row)] for row in rows[:MOST_ROWS]]
    return ExampleTable(path.stem.replace("_", " "), step, [columns[number] for number in kept], cells)


def _by_sentence(rows: Sequence[Sequence[object]], column: int) -> list[list[object]]:
    """Return rows with those of one sentence together; the sentence stands in the first of them alone."""
    groups: dict[object, list[list[object]]] = {}
    for row in rows:
        of_sentence = groups.setdefault(row[column] if column < len(row) else "", [])
        of_sentence.append([cell if number != column or not of_sentence else "" for number, cell in enumerate(row)])
    return [row for group in groups.values() for row in group]


def _in_words(cell: object) -> object:
    return f"{cell:.3g}" if isinstance(cell, float) else cell


def _profile(path: Path) -> Profile | None:
    content, where = read_object(path), str(path)
    if content is None:
        return None
    kinds = checked(content.get("kinds", {}), dict[str, dict[str, float]], where, "kinds")
    modules = checked(content.get("modules", {}), dict[str, float], where, "modules")
    seconds = checked(entry(content, "step_seconds", where=where), float, where, "step_seconds")
    if not kinds:
        return None
    layers = {
        phase: (
            [1000 * phases.get(phase, 0.0) for phases in kinds.values()],
            [f"{kind}, {phase}: {1000 * phases.get(phase, 0.0):.2f} ms" for kind, phases in kinds.items()],
            color,
        )
        for phase, color in PHASE_COLORS.items()
    }
    chart = stacked_bars("Kinds of work", "milliseconds a step", list(kinds), layers)
    settings = checked(content.get("settings", {}), dict[str, str], where, "settings")
    rows = [(name, f"{1000 * value:.2f}") for name, value in list(modules.items())[:MOST_MODULES]]
    return Profile(settings, 1000 * seconds, chart, rows)
