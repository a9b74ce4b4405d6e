"""The charts of a search. Each trial says what it is when it is pointed at."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.models import BasicTicker, ColumnDataSource, FixedTicker, HoverTool, NumeralTickFormatter, Range1d
from bokeh.models.annotations.labels import LabelSet
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from bert_lightning.reports.charts import (
    GRID,
    INK,
    PALE,
    PALE_BLUE,
    RED,
    SAYS,
    Chart,
    as_json,
    bar_chart,
    label,
    new_drawing,
)
from bert_lightning.reports.trial_row import COMPLETE, TrialRow, shown

_HIGH = 300
_DARKEST, _LIGHTEST = 20, 220
"""Colors of the best and of the worst trial in Viridis."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of a search.

    Attributes:
        key: The key that is searched.
        choices: Its values, if they are listed; else they lie between `low` and `high`.
        low: The lowest value.
        high: The highest value.
        is_log: Whether the scale is logarithmic.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False

    def height(self, value: Any) -> float:
        """Return the position of a value on the axis of the dimension, from 0 to 1."""
        if self.choices:
            return (self.choices.index(value) + 0.5) / len(self.choices) if value in self.choices else 0.0
        low, high, here = (math.log(each) if self.is_log else each for each in (self.low, self.high, value))
        return 0.5 if high <= low else (here - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return positions and names of what stands at the axis."""
        if self.choices:
            return [(self.height(each), shown(each)) for each in self.choices]
        middle = math.sqrt(self.low * self.high) if self.is_log else (self.low + self.high) / 2
        return [(self.height(each), shown(each)) for each in (self.low, middle, self.high)]


def said(row: TrialRow, metric: str) -> str:
    """Return a trial in one line."""
    value = "" if row.value is None else f", {metric} {row.value:.4f}"
    chosen = ", ".join(f"{key}={shown(each)}" for key, each in row.values.items())
    return f"trial {row.number}: {row.state}{value}, {chosen}"


def history(rows: Sequence[TrialRow], metric: str, direction: str) -> Chart | None:
    """Return the chart of the metric of every trial, in their order, and of the best so far."""
    valued = [(row, row.value) for row in rows if row.value is not None and math.isfinite(row.value)]
    best: list[tuple[int, float]] = []
    for row, value in valued:
        if row.state == COMPLETE:
            pick = min if direction == "minimize" else max
            best.append((row.number, pick(value, best[-1][1]) if best else value))
    if not best:
        return None
    drawing = new_drawing()
    drawing.step([number for number, _ in best], [value for _, value in best], mode="after", line_color=INK)
    source = ColumnDataSource(
        {
            "x": [row.number for row, _ in valued],
            "y": [value for _, value in valued],
            "color": [RED if row.state == COMPLETE else PALE for row, _ in valued],
            "said": [said(row, metric) for row, _ in valued],
        }
    )
    dots = drawing.scatter("x", "y", source=source, color="color", size=8)
    drawing.add_tools(HoverTool(tooltips=SAYS, renderers=[dots]))
    drawing.xaxis.formatter = NumeralTickFormatter(format="0")
    drawing.xaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=4)
    legend = [("complete", RED), ("other", PALE), ("best so far", INK)]
    return Chart("Trials, and the best so far", metric, "trial", legend, as_json(drawing))


def curves(rows: Sequence[TrialRow], best: TrialRow | None, metric: str) -> Chart | None:
    """Return the chart of the metric of every trial over its steps; the winner stands out."""
    points = {row.number: _finite(row.curve) for row in rows}
    drawn = [row for row in rows if points[row.number]]
    if not drawn:
        return None
    drawing = new_drawing()
    for row in sorted(drawn, key=lambda row: row is best):  # the winner is drawn last
        color, width = (RED, 2.4) if row is best else (PALE_BLUE if row.state == COMPLETE else PALE, 1.4)
        steps, values = map(list, zip(*points[row.number], strict=True))
        source = ColumnDataSource({"x": steps, "y": values, "said": [said(row, metric)] * len(steps)})
        line = drawing.line("x", "y", source=source, line_color=color, line_width=width)
        dots = drawing.scatter("x", "y", source=source, color=color, size=4)
        drawing.add_tools(HoverTool(tooltips=SAYS, renderers=[dots, line]))
    legend = [("best", RED), ("complete", PALE_BLUE), ("other", PALE)]
    return Chart("Validations", metric, "step", legend, as_json(drawing))


def _finite(curve: tuple[Sequence[int], Sequence[float]]) -> list[tuple[int, float]]:
    return [(step, value) for step, value in zip(*curve, strict=True) if math.isfinite(value)]


def importance_bars(shares: Mapping[str, float]) -> Chart | None:
    """Return the chart of how much each key decides the metric; None if it is not known."""
    rows = [(key, share, f"{key}: {share:.0%}") for key, share in shares.items()]
    return bar_chart("Importance", "share of what the metric owes to the key", rows, is_share=True)


def parallel_coordinates(
    rows: Sequence[TrialRow], dimensions: Sequence[Dimension], metric: str, direction: str
) -> Chart | None:
    """Return the chart with an axis for each key and one for the metric, and a line for each trial."""
    valued = [(row, row.value) for row in rows if row.value is not None and math.isfinite(row.value)]
    complete = {row.number: value for row, value in valued if row.state == COMPLETE}
    if not complete or not dimensions:
        return None
    last = Dimension(metric, (), min(complete.values()), max(complete.values()))
    axes = [*dimensions, last]
    drawing = new_drawing(
        height=_HIGH, x_range=Range1d(start=-0.15, end=len(axes) - 0.45), y_range=Range1d(start=-0.06, end=1.06)
    )
    for position, axis in enumerate(axes):
        _axis(drawing, position, axis)
    for row in sorted(rows, key=lambda row: row.number in complete):  # those that are complete are drawn last
        known = [(position, each) for position, each in enumerate(dimensions) if each.key in row.values]
        positions = [position for position, _ in known]
        heights = [each.height(row.values[each.key]) for _, each in known]
        color, width = PALE, 1.0
        if row.number in complete:
            height = last.height(complete[row.number])
            heights.append(height)
            positions.append(len(dimensions))
            worse = height if direction == "minimize" else 1 - height
            color, width = Viridis256[round(_DARKEST + worse * (_LIGHTEST - _DARKEST))], 2.2
        source = ColumnDataSource({"x": positions, "y": heights, "said": [said(row, metric)] * len(heights)})
        line = drawing.line("x", "y", source=source, line_color=color, line_width=width)
        drawing.add_tools(HoverTool(tooltips=SAYS, renderers=[line], line_policy="interp"))
    _name_axes(drawing, [axis.key for axis in axes])
    across = "a line is a trial; the darker, the better"
    return Chart("Parallel coordinates", "", across, [], as_json(drawing), is_wide=True)


def _axis(drawing: figure, position: int, dimension: Dimension) -> None:
    drawing.line([position, position], [0, 1], line_color=GRID, line_width=1.2)
    ticks = dimension.ticks()
    source = ColumnDataSource(
        {
            "x": [position] * len(ticks),
            "y": [height for height, _ in ticks],
            "text": [label(name, 12) for _, name in ticks],
        }
    )
    labels = LabelSet(
        source=source,
        x_offset=4,
        text_baseline="middle",
        text_font_size="11px",
        text_color=INK,
        background_fill_color="white",
        background_fill_alpha=0.75,
    )
    drawing.add_layout(labels)


def _name_axes(drawing: figure, names: Sequence[str]) -> None:
    drawing.xaxis.ticker = FixedTicker(ticks=list(range(len(names))))
    drawing.xaxis.major_label_overrides = {
        number: label(name.rpartition(".")[2], 14) for number, name in enumerate(names)
    }
    drawing.yaxis.visible = drawing.ygrid.visible = False
