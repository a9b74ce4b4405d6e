"""One self-contained page about a run: what it reached, its curves, its settings.

Made from the metrics, what they mean and the settings in the folder alone, so a run that was resumed or moved gives
the same page.
"""

import html
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.reports.errors_section import errors_section
from bert_lightning.reports.shown_quantities import ShownQuantity, read_shown
from bert_lightning.settings.run_folder import RunFolder, write_whole

Columns = dict[str, tuple[list[int], list[float]]]

# Title, y label, and the columns of each chart with their names in the legend. Those of the objective follow the first.
CHARTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Loss", "nats", {"train/loss": "training", "val/loss": "held-out"}),
    ("Learning rate", "", {"optim/lr": "learning rate"}),
    ("Gradient norm", "", {"optim/grad_norm": "before clipping"}),
    ("Speed", "tokens/s", {"throughput/tokens_per_second": "real tokens per second"}),
    ("Use of the hardware", "share", {"throughput/mfu": "MFU", "throughput/data_wait": "waiting for data"}),
)
FIGURES = (
    ("throughput/tokens_per_second", "real tokens per second", "{:,.0f}"),
    ("throughput/mfu", "of the hardware's peak", "{:.1%}"),
    ("progress/tokens", "tokens seen", "{:,.0f}"),
    ("progress/epoch", "passes over the corpus", "{:.2f}"),
)
COLORS = {"training": "#9db4d3", "held-out": "#c8553d"}
DEFAULT_COLORS = ("#33658a", "#e09f3e")
INK, RULE, PAPER = "#22303c", "#dfe4e8", "#ffffff"
STYLE = """
body { font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #22303c; background: #f5f6f7;
  margin: 0 auto; max-width: 1120px; padding: 2.5rem 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .8rem; }
.lead { color: #5b6b79; margin: .2rem 0 1.6rem; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(235px, 1fr)); }
.charts { grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); }
.card { background: #fff; border: 1px solid #dfe4e8; border-radius: 8px; padding: .9rem 1.1rem; }
.card b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.card span { color: #5b6b79; font-size: .88rem; }
.chart { padding: .4rem; } .chart svg { width: 100%; height: auto; display: block; }
pre { background: #fff; border: 1px solid #dfe4e8; border-radius: 8px; padding: 1rem; overflow-x: auto;
  font-size: .82rem; }
table { border-collapse: collapse; width: 100%; background: #fff; font-size: .88rem; }
td, th { border-bottom: 1px solid #dfe4e8; padding: .35rem .7rem; text-align: left; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
"""


def write_report(run_dir: Path) -> Path:
    """Write the report into the folder of a run and return its path.

    Raises:
        ValueError: if the folder has no metrics, or its description of the quantities is damaged.
    """
    folder = RunFolder(run_dir)
    columns = read_columns(folder.metrics)
    if not columns:
        raise ValueError(f"{run_dir} has no {folder.metrics.name} with values to report")
    settings = folder.config.read_text(encoding="utf-8") if folder.config.exists() else ""
    more = errors_section(folder.errors)
    text = page(run_dir.resolve().name, columns, read_shown(folder.quantities), settings, more)
    write_whole(folder.report, text)
    return folder.report


def page(name: str, columns: Columns, quantities: Sequence[ShownQuantity], settings: str, more: str = "") -> str:
    """Return the page as HTML that needs no other file.

    Args:
        name: Name of the run.
        columns: Steps and values of every metric.
        quantities: How those of the objective are shown.
        settings: The settings of the run.
        more: HTML of further sections.
    """
    last_step = max(steps[-1] for steps, _ in columns.values())
    charts_of_objective = [
        (shown.title, shown.unit, {f"train/{shown.name}": "training", f"val/{shown.name}": "held-out"})
        for shown in quantities
        if shown.unit
    ]
    figures = [(f"val/{shown.name}", f"held-out {shown.title}", shown.format) for shown in quantities]
    charts = "".join(
        f'<div class="card chart">{svg}</div>'
        for title, unit, series in [CHARTS[0], *charts_of_objective, *CHARTS[1:]]
        if (svg := chart(title, unit, {label: columns[key] for key, label in series.items() if key in columns}))
    )
    cards = "".join(
        f'<div class="card"><b>{form.format(columns[key][1][-1])}</b><span>{html.escape(label)}</span></div>'
        for key, label, form in [*figures, *FIGURES]
        if key in columns
    )
    rows = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{values[-1]:.6g}</td><td>{steps[-1]:,}</td></tr>"
        for key, (steps, values) in sorted(columns.items())
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(name)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{html.escape(name)}</h1>"
        f'<p class="lead">{last_step:,} steps{_skipped(columns)}</p><div class="grid">{cards}</div>'
        f'<h2>Curves</h2><div class="grid charts">{charts}</div>{more}<h2>Last values</h2>'
        f"<table><tr><th>metric</th><th>value</th><th>step</th></tr>{rows}</table>"
        f"<h2>Settings</h2><pre>{html.escape(settings)}</pre></body></html>\n"
    )


def _skipped(columns: Columns) -> str:
    skipped = columns.get("train/skipped_steps", ([0], [0.0]))[1][-1]
    return f", {skipped:.0f} of them skipped because a gradient was not finite" if skipped else ""


def chart(title: str, unit: str, series: dict[str, tuple[list[int], list[float]]]) -> str:
    """Return one chart as an SVG element, or nothing if no series has values."""
    if not series:
        return ""
    figure = Figure(figsize=(4.6, 2.9), layout="constrained", facecolor=PAPER)
    axes = figure.add_subplot()
    for number, (label, (steps, values)) in enumerate(series.items()):
        line_color = COLORS.get(label, DEFAULT_COLORS[number % 2])
        axes.plot(steps, values, color=line_color, lw=1.8, label=label, marker="o" if len(steps) < 25 else "", ms=3)
    decorate(axes, title, unit, list(series))
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def decorate(axes: Axes, title: str, unit: str, labels: Sequence[str]) -> None:
    """Give a chart the looks of the reports.

    Args:
        axes: The chart.
        title: Its title.
        unit: Unit of its y axis.
        labels: Names of its series; several have a legend.
    """
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel("step", fontsize=9, color=INK)
    axes.set_ylabel(unit, fontsize=9, color=INK)
    axes.grid(axis="y", color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    if unit == "share":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if len(labels) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
