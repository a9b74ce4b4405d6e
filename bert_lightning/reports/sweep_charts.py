"""The charts of a search. Each trial says what it is when it is pointed at."""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bert_lightning.reports.report import INK, PAPER, RULE, decorate
from bert_lightning.reports.trial_row import COMPLETE, TrialRow, shown

GOOD, OTHER = "#c8553d", "#9db4d3"
PALE = "#c9d1d8"


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


def as_svg(figure: Figure, titles: Mapping[str, str]) -> str:
    """Return a figure as an SVG element in which some elements, by their names, say a text when pointed at."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()[buffer.getvalue().index("<svg") :]
    return re.sub(
        r'<g id="(trial-\d+)">',
        lambda found: f"<g><title>{html.escape(titles.get(found[1], found[1]))}</title>",
        svg,
    )


def history(rows: Sequence[TrialRow], metric: str, direction: str) -> str:
    """Return the chart of the metric of every trial, in their order, and of the best so far."""
    figure, axes = _figure(4.6, 2.9)
    best: list[tuple[int, float]] = []
    for row in rows:
        if row.value is None or not math.isfinite(row.value):
            continue
        is_complete = row.state == COMPLETE
        color, size = (GOOD, 22) if is_complete else (PALE, 14)
        axes.scatter([row.number], [row.value], s=size, color=color, zorder=3).set_gid(f"trial-{row.number}")
        if is_complete:
            pick = min if direction == "minimize" else max
            best.append((row.number, pick(row.value, best[-1][1]) if best else row.value))
    if not best:
        return ""
    axes.step([number for number, _ in best], [value for _, value in best], where="post", color=INK, lw=1.4)
    decorate(axes, "Trials, and the best so far", metric, [])
    axes.set_xlabel("trial", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return as_svg(figure, {f"trial-{row.number}": said(row, metric) for row in rows})


def curves(rows: Sequence[TrialRow], best: TrialRow | None, metric: str) -> str:
    """Return the chart of the metric of every trial over its steps; the winner stands out."""
    figure, axes = _figure(4.6, 2.9)
    drawn = [row for row in rows if len(row.curve[0])]
    if not drawn:
        return ""
    for row in drawn:
        color, width = (GOOD, 2.2) if row is best else (OTHER if row.state == COMPLETE else PALE, 1.1)
        order = 4 if row is best else 2
        marker = "o" if len(row.curve[0]) < 2 or row is best else ""
        (line,) = axes.plot(*row.curve, color=color, lw=width, zorder=order, marker=marker, ms=3)
        line.set_gid(f"trial-{row.number}")
    decorate(axes, "Validations", metric, [])
    return as_svg(figure, {f"trial-{row.number}": said(row, metric) for row in rows})


def importance_bars(shares: Mapping[str, float]) -> str:
    """Return the chart of how much each key decides the metric; nothing if it is not known."""
    if not shares:
        return ""
    figure, axes = _figure(4.6, 0.9 + 0.36 * len(shares))
    keys = list(shares)[::-1]
    axes.barh(keys, [shares[key] for key in keys], color="#33658a", height=0.6)
    for position, key in enumerate(keys):
        axes.text(shares[key] + 0.02, position, f"{shares[key]:.0%}", va="center", fontsize=8, color=INK)
    decorate(axes, "Importance", "", [])
    axes.grid(visible=False)
    axes.set_xlim(0, 1.15)
    axes.set_xlabel("share of what the metric owes to the key", fontsize=9, color=INK)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
    return as_svg(figure, {})


def parallel_coordinates(rows: Sequence[TrialRow], dimensions: Sequence[Dimension], metric: str, direction: str) -> str:
    """Return the chart with an axis for each key and one for the metric, and a line for each trial."""
    complete = [row for row in rows if row.state == COMPLETE and row.value is not None]
    if not complete or not dimensions:
        return ""
    metrics = [row.value for row in complete if row.value is not None]
    last = Dimension(metric, (), min(metrics), max(metrics))
    axes_of = [*dimensions, last]
    figure, axes = _figure(max(4.6, 1.9 * len(axes_of)), 3.6)
    scale = colormaps["viridis"]
    for row in [*(row for row in rows if row not in complete and len(row.values) == len(dimensions)), *complete]:
        heights = [each.height(row.values[each.key]) for each in dimensions if each.key in row.values]
        color: Any = PALE
        width, order = 0.8, 1
        if row in complete and row.value is not None:
            height = last.height(row.value)
            heights.append(height)
            color, width, order = scale(0.9 * (height if direction == "minimize" else 1 - height)), 1.6, 3
        (line,) = axes.plot(range(len(heights)), heights, color=color, lw=width, zorder=order)
        line.set_gid(f"trial-{row.number}")
    for position, each in enumerate(axes_of):
        _axis(axes, position, each)
    axes.set_xticks(range(len(axes_of)), [each.key for each in axes_of], fontsize=8, color=INK)
    axes.set_xlim(-0.3, len(axes_of) - 0.6)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_title("Parallel coordinates: dark lines are the best", loc="left", fontsize=11, color=INK, weight="bold")
    return as_svg(figure, {f"trial-{row.number}": said(row, metric) for row in rows})


def _axis(axes: Axes, position: int, dimension: Dimension) -> None:
    axes.axvline(position, color=RULE, lw=1.2, zorder=0)
    for height, name in dimension.ticks():
        axes.annotate(
            name,
            (position, height),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
            va="center",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.75},
            zorder=5,
        )


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    return figure, figure.add_subplot()
