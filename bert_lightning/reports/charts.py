"""Charts of a page, drawn by Bokeh where the page is opened: pointing at a line says what it is there.

Titles and legends are HTML beside the drawing, so that they wrap on a phone. A drawing has numbers at its axes and
short names of settings, nothing else.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.embed import json_item
from bokeh.models import (
    BasicTicker,
    BasicTickFormatter,
    ColumnDataSource,
    DataRange1d,
    FixedTicker,
    HoverTool,
    NumeralTickFormatter,
    Range,
    TickFormatter,
)
from bokeh.plotting import figure

INK, GRID = "#22303c", "#dfe4e8"
BLUE, RED, ORANGE, PALE_BLUE, PALE = "#33658a", "#c8553d", "#e09f3e", "#9db4d3", "#c9d1d8"
PALETTE = (BLUE, RED, ORANGE, "#5b8c5a", "#7d5ba6", "#2a9d8f", "#8d6e63", "#d16ba5", "#6b7a8f", "#b5a642")
MOST_POINTS = 500
"""Points of a line that a page still carries."""
HEIGHT = 210
SAYS = '<div style="max-width: 260px; overflow-wrap: anywhere">@said</div>'
"""What is shown at the pointer. Bokeh escapes the text of the column."""
_POINTS_WITH_MARKERS = 25
_SMALL = 0.01


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: Name for readers.
        steps: Positions on the horizontal axis, ascending.
        values: Value at each of them.
        color: Color of the line.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    color: str = BLUE


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as a template shows it.

    Attributes:
        title: What it shows.
        unit: Unit of its vertical axis; empty if there is none.
        across: What its horizontal axis is.
        legend: Name and color of every line, if there are several.
        drawing: The drawing as Bokeh's script reads it.
        is_wide: Whether it takes the whole width of the page.
    """

    title: str
    unit: str
    across: str
    legend: Sequence[tuple[str, str]]
    drawing: dict[str, Any]
    is_wide: bool = False


def line_chart(title: str, unit: str, curves: Sequence[Curve], across: str = "step") -> Chart | None:
    """Return the chart of some curves; None if none of them has a value.

    Args:
        title: What it shows.
        unit: Unit of the values; "share" is shown in percent.
        curves: The curves, those in front last.
        across: What the horizontal axis is.
    """
    curves = [curve for curve in map(_drawable, curves) if curve.steps]
    if not curves:
        return None
    drawing = new_drawing(unit)
    for curve in curves:
        said = [
            f"{curve.name}, {across} {x:,.0f}: {in_words(y, unit)}"
            for x, y in zip(curve.steps, curve.values, strict=True)
        ]
        source = ColumnDataSource({"x": list(curve.steps), "y": list(curve.values), "said": said})
        line = drawing.line("x", "y", source=source, line_color=curve.color, line_width=1.8)
        if len(curve.steps) < _POINTS_WITH_MARKERS:
            drawing.scatter("x", "y", source=source, color=curve.color, size=5)
        drawing.add_tools(HoverTool(tooltips=SAYS, mode="vline", renderers=[line]))
    if max(abs(y) for curve in curves for y in curve.values) < _SMALL:
        drawing.yaxis.formatter = BasicTickFormatter(precision=1)
    legend = [(curve.name, curve.color) for curve in curves] if len(curves) > 1 else []
    return Chart(title, unit, across, legend, as_json(drawing))


def new_drawing(
    unit: str = "", height: int = HEIGHT, x_range: Range | None = None, y_range: Range | None = None
) -> figure:
    """Return an empty drawing with the looks of the reports, as wide as the page lets it be.

    Args:
        unit: Unit of the vertical axis.
        height: Height in pixels.
        x_range: What the horizontal axis shows; None for all that is drawn.
        y_range: What the vertical axis shows; None for all that is drawn.
    """
    drawing = figure(
        height=height,
        sizing_mode="stretch_width",
        output_backend="svg",
        tools="",
        toolbar_location=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border=4,
        x_range=x_range or DataRange1d(),
        y_range=y_range or DataRange1d(),
    )
    drawing.xgrid.visible = False
    drawing.ygrid.grid_line_color = GRID
    for axis in drawing.axis:
        axis.axis_line_color = GRID
        axis.major_tick_line_color = axis.minor_tick_line_color = None
        axis.major_label_text_color = INK
        axis.major_label_text_font_size = "11px"
    drawing.xaxis.formatter = NumeralTickFormatter(format="0.[00]a")
    drawing.xaxis.ticker = BasicTicker(desired_num_ticks=4)
    drawing.yaxis.ticker = BasicTicker(desired_num_ticks=5)
    drawing.yaxis.formatter = _formatter(unit)
    return drawing


def _formatter(unit: str) -> TickFormatter:
    if unit == "share":
        return NumeralTickFormatter(format="0.[0]%")
    return NumeralTickFormatter(format="0.[00]a") if unit.endswith("/s") else BasicTickFormatter()


def as_json(drawing: figure) -> dict[str, Any]:
    """Return a drawing as Bokeh's script reads it."""
    return dict(json_item(drawing))


def in_words(value: float, unit: str) -> str:
    """Return a value as the pointer says it.

    >>> in_words(0.2891, "share"), in_words(5.16123, "nats"), in_words(6001.4, "tokens/s"), in_words(2.5e-5, "")
    ('28.9%', '5.161 nats', '6,001 tokens/s', '2.5e-05')
    """
    if unit == "share":
        return f"{value:.1%}"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}" if unit else f"{value:.4g}"
    return f"{number} {unit}".strip()


def _drawable(curve: Curve) -> Curve:
    """Return a curve without values that are not finite, and thinned if it is long."""
    finite = [(x, y) for x, y in zip(curve.steps, curve.values, strict=True) if math.isfinite(y)]
    kept = thinned(finite)
    return Curve(curve.name, [x for x, _ in kept], [y for _, y in kept], curve.color)


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> Sequence[tuple[float, float]]:
    """Return at most so many of the points of a line: the ends, and the lowest and highest of each stretch between.

    >>> thinned([(x, float(x == 50)) for x in range(100)], 6)
    [(0, 0.0), (1, 0.0), (50, 1.0), (51, 0.0), (99, 0.0)]
    """
    if len(points) <= most:
        return points
    inner, stretches = points[1:-1], (most - 2) // 2
    kept = [points[0]]
    for number in range(stretches):
        stretch = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        extremes = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(extremes)
    return [*kept, points[-1]]


def bar_chart(title: str, across: str, rows: Sequence[tuple[str, float, str]], is_share: bool = False) -> Chart | None:
    """Return a chart with a bar for each row, the first row on top; None without rows.

    Args:
        title: What it shows.
        across: What the length of a bar is.
        rows: Name of each bar, its length, and what it says when it is pointed at.
        is_share: Whether lengths are shares.
    """
    if not rows:
        return None
    return stacked_bars(
        title,
        across,
        [name for name, _, _ in rows],
        {"": ([each for _, each, _ in rows], [said for _, _, said in rows], BLUE)},
        is_share,
    )


def stacked_bars(
    title: str,
    across: str,
    names: Sequence[str],
    layers: Mapping[str, tuple[Sequence[float], Sequence[str], str]],
    is_share: bool = False,
) -> Chart:
    """Return a chart with a bar for each name, the first one on top, put together of layers.

    Args:
        title: What it shows.
        across: What the length of a bar is.
        names: Name of each bar.
        layers: By name: the length in each bar, what it says when it is pointed at, and the color.
        is_share: Whether lengths are shares.
    """
    drawing = new_drawing(height=60 + 26 * len(names), x_range=DataRange1d(start=0))
    drawing.xaxis.formatter = _formatter("share") if is_share else BasicTickFormatter()
    drawing.ygrid.visible = False
    rows = [len(names) - 1 - row for row in range(len(names))]
    left = [0.0] * len(names)
    for lengths, said, color in layers.values():
        right = [begin + length for begin, length in zip(left, lengths, strict=True)]
        source = ColumnDataSource({"y": rows, "left": left, "right": right, "said": list(said)})
        bars = drawing.hbar(y="y", left="left", right="right", height=0.62, source=source, color=color)
        drawing.add_tools(HoverTool(tooltips=SAYS, renderers=[bars]))
        left = right
    name_rows(drawing, dict(zip(rows, names, strict=True)))
    legend = [(name, color) for name, (_, _, color) in layers.items() if name]
    return Chart(title, "", across, legend, as_json(drawing))


def name_rows(drawing: figure, names: Mapping[int, str]) -> None:
    """Name positions of the vertical axis; a long name is cut."""
    drawing.yaxis.ticker = FixedTicker(ticks=list(names))
    drawing.yaxis.major_label_overrides = {row: label(name) for row, name in names.items()}


def label(name: str, most: int = 28) -> str:
    r"""Return a name as a drawing shows it: cut if it is long, and no formula, which Bokeh takes some brackets for.

    >>> label("optimizer.lr"), label("a" * 30, 5), label("$$x$$")
    ('optimizer.lr', 'aaaa…', '$ $x$ $')
    """
    short = name if len(name) <= most else f"{name[: most - 1]}…"
    return short.replace("$$", "$ $").replace("\\(", "\\ (").replace("\\[", "\\ [")
