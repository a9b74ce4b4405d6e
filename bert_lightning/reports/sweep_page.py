"""The page about a search: how it stands, its trials sorted, its charts, and the winner to run again."""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bert_lightning.reports.report import STYLE
from bert_lightning.reports.sweep_charts import Dimension, curves, history, importance_bars, parallel_coordinates
from bert_lightning.reports.trial_row import COMPLETE, TrialRow, best_first, shown
from data_pipeline.untrusted.escaping import printable

MORE_STYLE = """
.wide { overflow-x: auto; } .wide svg { min-width: 620px; } .wide table { min-width: 620px; }
.best td { background: #fbeee9; } .note { color: #5b6b79; font-size: .88rem; }
td.state { text-align: left; }
@media print { body { background: #fff; padding: 0; } .card { break-inside: avoid; } }
"""


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
        return next((row for row in best_first(self.rows, self.direction) if row.state == COMPLETE), None)


def sweep_page(page: SweepPage) -> str:
    """Return the page as HTML that needs no other file."""
    name, best = _text(page.name), page.best
    charts = "".join(
        f'<div class="card chart">{svg}</div>'
        for svg in (
            history(page.rows, page.metric, page.direction),
            curves(page.rows, best, page.metric),
            importance_bars(page.importance),
        )
        if svg
    )
    wide = parallel_coordinates(page.rows, page.dimensions, page.metric, page.direction)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{name}</title>'
        f"<style>{STYLE}{MORE_STYLE}</style></head><body><h1>{name}</h1>"
        f'<p class="lead">{_standing(page)}</p>{_cards(page)}{_winner(page)}'
        f"<h2>Trials</h2>{_table(page)}"
        f'<h2>Charts</h2><p class="note">Point at a trial to read what it is.</p>'
        f'<div class="card chart wide">{wide or "no trial is complete yet"}</div>'
        f'<div class="grid charts" style="margin-top: 1rem">{charts}</div>'
        f"<h2>What all trials share</h2>{_fixed(page.fixed)}</body></html>\n"
    )


def _standing(page: SweepPage) -> str:
    counts = Counter(row.state for row in page.rows)
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{len(page.rows)} trials: {_text(states)}; {page.direction} {_text(page.metric)}"


def _cards(page: SweepPage) -> str:
    best, steps = page.best, sum(row.steps for row in page.rows)
    hours = sum(row.seconds for row in page.rows) / 3600
    most = max((row.steps for row in page.rows), default=0)
    whole = most * len(page.rows)
    figures = [
        (f"{best.value:.4f}" if best is not None and best.value is not None else "-", f"best {page.metric}"),
        (f"{best.number}" if best is not None else "-", "number of the best trial"),
        (f"{steps:,}", "steps of all trials"),
        (f"{steps / whole:.0%}" if whole else "-", "of the steps without pruning"),
        (f"{hours:.2f}", "hours of training"),
    ]
    cards = (f'<div class="card"><b>{_text(value)}</b><span>{_text(label)}</span></div>' for value, label in figures)
    return f'<div class="grid">{"".join(cards)}</div>'


def _winner(page: SweepPage) -> str:
    if page.command is None:
        return ""
    return f"<h2>The best again</h2><pre>{_text(page.command)}</pre>"


def _table(page: SweepPage) -> str:
    keys = [dimension.key for dimension in page.dimensions]
    heads = ("trial", "state", page.metric, *keys, "steps", "minutes", "folder")
    head = "".join(f"<th>{_text(each)}</th>" for each in heads)
    rows = []
    for row in best_first(page.rows, page.direction):
        cells = [
            "-" if row.value is None else f"{row.value:.4f}",
            *(shown(row.values[key]) if key in row.values else "-" for key in keys),
            f"{row.steps:,}",
            f"{row.seconds / 60:.1f}",
            row.run_dir if row.error is None else f"{row.run_dir}: {row.error}",
        ]
        cell_text = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        kind = ' class="best"' if row is page.best else ""
        rows.append(f'<tr{kind}><td>{row.number}</td><td class="state">{_text(row.state)}</td>{cell_text}</tr>')
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _fixed(fixed: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{_text(key)}</td><td>{_text(value)}</td></tr>" for key, value in fixed.items())
    return f"<table><tr><th>setting</th><th>value</th></tr>{rows}</table>"


def _text(value: object) -> str:
    return html.escape(printable(str(value)))
