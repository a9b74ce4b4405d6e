"""A chart of tokens a second, with a bar for each model."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

BACKGROUND, TEXT, GRID = "#ffffff", "#26292d", "#dddddd"
OURS, OTHERS = "#1f6feb", "#8a9099"


def write_chart(path: Path, title: str, names: Sequence[str], tokens_per_second: Sequence[float]) -> None:
    """Draw a bar for each, the first one's highlighted, and write a PNG."""
    figure = Figure(figsize=(8, 1.4 + 0.5 * len(names)), facecolor=BACKGROUND, layout="constrained")
    axes = figure.subplots()
    colors = [OURS] + [OTHERS] * (len(names) - 1)
    bars = axes.barh(list(names), list(tokens_per_second), color=colors)
    labels = [f"{value:,.0f}  ({value / tokens_per_second[0]:.2f})" for value in tokens_per_second]
    axes.bar_label(bars, labels, padding=4, color=TEXT)
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.set_xlabel("real tokens a second (as a share of the first)", color=TEXT)
    axes.set_title(title, color=TEXT, loc="left", fontsize=11)
    axes.tick_params(colors=TEXT, length=0)
    axes.xaxis.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    figure.savefig(path, dpi=150)
