"""The page that says where the time of a step goes: summary.md, and the same as a chart."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bert_lightning.profiling.step_profile import PHASES, Slice, by_kind_and_phase, by_module, largest

COLORS = {"forward": "#33658a", "backward": "#86bbd8", "optimizer": "#e09f3e", "around": "#8a9099"}
INK, GRID = "#22303c", "#dfe4e8"
NUM_LARGEST = 12
LONGEST_NAME = 70


@dataclass(frozen=True, slots=True)
class Profiled:
    """Profiled steps.

    Attributes:
        slices: Operations of all these steps.
        num_steps: Number of the steps.
        seconds: Seconds from the beginning of the first step to the end of the last.
        first_step: Number of the first step, counted from 1.
        tokens: Real tokens of these steps on this rank.
        settings: Facts for the beginning of the page, by name.
    """

    slices: Sequence[Slice]
    num_steps: int
    seconds: float
    first_step: int
    tokens: int
    settings: Mapping[str, str]


def write_profile(profiled: Profiled, folder: Path) -> Path:
    """Write summary.md, summary.png and summary.json, and return the page."""
    page = folder / "summary.md"
    page.write_text(as_markdown(profiled), encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(as_figures(profiled), indent=1) + "\n", encoding="utf-8")
    _draw(profiled, folder / "summary.png")
    return page


def as_markdown(profiled: Profiled) -> str:
    """Return the page in Markdown."""
    steps = profiled.num_steps
    busy = sum(one.seconds for one in profiled.slices)
    facts = "; ".join(f"{name} {value}" for name, value in profiled.settings.items())
    blocks = [
        "# Where a training step goes",
        f"{facts}. Steps {profiled.first_step} to {profiled.first_step + steps - 1}: "
        f"{1000 * profiled.seconds / steps:.1f} ms a step while profiled, "
        f"{profiled.tokens / profiled.seconds:,.0f} real tokens/s on this rank.",
        f"Operations take {busy / profiled.seconds:.1%} of that time; the rest is gaps between them.",
        "## Kinds of work, ms a step",
        _kinds(profiled, busy),
        "## Parts of the model, forward and backward, ms a step",
        _table(
            ("module", "ms", "share"),
            [(name, _ms(value, steps), f"{value / busy:.1%}") for name, value in by_module(profiled.slices).items()],
        ),
        "## Largest operations",
        _table(
            ("operation", "ms a step", "calls a step"),
            [
                (f"`{name[:LONGEST_NAME]}`", _ms(seconds, steps), f"{calls / steps:.1f}")
                for name, seconds, calls in largest(profiled.slices, NUM_LARGEST)
            ],
        ),
        HOW_TO_READ,
    ]
    return "\n\n".join(blocks) + "\n"


def as_figures(profiled: Profiled) -> dict[str, Any]:
    """Return seconds a step, by kind of work and phase, and by part of the model; the report of the run shows them."""
    steps = profiled.num_steps
    kinds = by_kind_and_phase(profiled.slices)
    return {
        "settings": dict(profiled.settings),
        "first_step": profiled.first_step,
        "num_steps": steps,
        "step_seconds": profiled.seconds / steps,
        "kinds": {kind: {name: value / steps for name, value in phases.items()} for kind, phases in kinds.items()},
        "modules": {name: value / steps for name, value in by_module(profiled.slices).items()},
    }


def _kinds(profiled: Profiled, busy: float) -> str:
    kinds, steps = by_kind_and_phase(profiled.slices), profiled.num_steps
    rows = [
        (kind, *(_ms(phases[phase], steps) for phase in PHASES), f"{sum(phases.values()) / busy:.1%}")
        for kind, phases in kinds.items()
    ]
    totals = [_ms(sum(phases[phase] for phases in kinds.values()), steps) for phase in PHASES]
    return _table(("kind", *PHASES, "share"), [*rows, ("all", *totals, "100%")])


def _ms(seconds: float, steps: int) -> str:
    return f"{1000 * seconds / steps:.2f}" if seconds else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ruler, *rows))


HOW_TO_READ = (
    "**How to read it.** Matrix products and attention are the work that MFU counts; every other row is what it costs "
    "to get there. `around` is neither forward, backward nor optimizer: copies to the device, waiting for data. "
    "A fused kernel counts under the first kind that its name fits. Each operation in its place: trace.json.gz, in "
    "https://ui.perfetto.dev."
)


def _draw(profiled: Profiled, path: Path) -> None:
    kinds = by_kind_and_phase(profiled.slices)
    figure = Figure(figsize=(9, 1.6 + 0.36 * len(kinds)), facecolor="white", layout="constrained")
    axes = figure.subplots()
    lefts = [0.0] * len(kinds)
    for phase in PHASES:
        widths = [1000 * phases[phase] / profiled.num_steps for phases in kinds.values()]
        axes.barh(list(kinds), widths, left=lefts, color=COLORS[phase], label=phase)
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    for row, width in enumerate(lefts):
        axes.text(width, row, f"  {width / sum(lefts):.1%}", va="center", color=INK, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("ms a step", color=INK)
    axes.set_title("Where a training step goes", color=INK, loc="left", fontsize=11)
    axes.tick_params(colors=INK, length=0)
    axes.xaxis.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", labelcolor=INK)
    figure.savefig(path, dpi=150)
