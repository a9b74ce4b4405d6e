"""The page about a fine-tuning: what its seeds have reached, or what its tasks, variants or points of a grid have."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.reports.charts import PALETTE, Chart, Curve, bar_chart, line_chart
from bert_lightning.reports.errors_section import errors_section
from bert_lightning.reports.guessing import larger_class
from bert_lightning.reports.page import render
from bert_lightning.reports.run_page import ExampleTable, Figure
from bert_lightning.settings.finetuned_folder import VALIDATION, FinetunedFolder
from bert_lightning.settings.run_about import About, read_about
from bert_lightning.settings.run_folder import RunFolder, write_whole
from data_pipeline.untrusted.bounded_json import read_object
from data_pipeline.untrusted.plain_files import has_file
from data_pipeline.untrusted.typed_fields import build, checked, entry, without_unknown
from data_pipeline.whole_numbers import number_of

MOST_EXAMPLES = 12
"""Predictions that a page shows."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric over seeds, as score files have it."""

    mean: float
    standard_deviation: float | None
    values: dict[str, float]
    examples: int

    def in_words(self) -> str:
        """Return mean and standard deviation."""
        spread = "" if self.standard_deviation is None else f" ± {self.standard_deviation:.4f}"
        return f"{self.mean:.4f}{spread}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its title, the names of its columns, and its cells."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class FinetuningPage:
    """What the page shows.

    Attributes:
        name: Name of the fine-tuning.
        lead: What it is, in one line.
        figures: The figures on cards.
        tables: The tables of scores.
        charts: The charts.
        note: What guessing reaches, in one line; empty if it is not known.
        examples: Predictions; None if there are none.
        errors: HTML about errors.
        about: What was run.
        settings: The settings.
    """

    name: str
    lead: str
    figures: Sequence[Figure]
    tables: Sequence[Table]
    charts: Sequence[Chart]
    note: str
    examples: ExampleTable | None
    errors: str
    about: About
    settings: str


def is_finetuning(path: Path) -> bool:
    """Return whether a folder is one of bert-finetune with its seeds, tasks or variants."""
    return has_file(path, "glue.json") or has_file(path, "variants.json") or _has_seeds(path)


def _has_seeds(path: Path) -> bool:
    return "best_seed" in (FinetunedFolder(path).read_scores() or {})


def write_finetuning_report(path: Path) -> Path:
    """Write the report into the folder of a fine-tuning and return its path.

    Raises:
        ValueError: if a file of scores is damaged.
    """
    if has_file(path, "glue.json"):
        page = _suite(path)
    else:
        page = _variants(path) if has_file(path, "variants.json") else _task(path)
    report = RunFolder(path).report
    write_whole(report, render("finetuning.html.j2", page=page))
    return report


def _task(path: Path) -> FinetuningPage:
    """Return the page about the seeds of one task, and about the points of its grid if there is one."""
    scores, where = FinetunedFolder(path).read_scores() or {}, str(path / "scores.json")
    metrics = _metrics(entry(scores, "metrics", where=where), where)
    chosen_by = checked(entry(scores, "chosen_by", where=where), str, where, "chosen_by")
    checkpoint = Path(checked(entry(scores, "checkpoint", where=where), str, where, "checkpoint"))
    best = RunFolder(path / checkpoint.parents[1])
    seeds = list(dict.fromkeys(seed for metric in metrics.values() for seed in metric.values))
    rows = [
        (
            name,
            f"{each.mean:.4f}",
            _spread(each),
            *(_score(each.values.get(seed)) for seed in seeds),
            f"{each.examples:,}",
        )
        for name, each in metrics.items()
    ]
    tables = [Table("Scores", ["metric", "mean", "sd", *(f"seed {seed}" for seed in seeds), "examples"], rows)]
    if grid := checked(scores.get("grid", {}), dict[str, float], where, "grid"):
        points = [
            (point, f"{value:.4f}", "best" if point == scores.get("winner") else "") for point, value in grid.items()
        ]
        points += [
            (point, "diverged", "") for point in checked(scores.get("diverged", []), list[str], where, "diverged")
        ]
        tables.append(Table("Grid", ["point", f"mean {chosen_by}", ""], points))
    return FinetuningPage(
        name=path.resolve().name,
        lead=f"{scores.get('task')}: {number_of(len(seeds), 'seed')}, chosen by {chosen_by}; the best is {checkpoint}",
        figures=[_figure(name, each) for name, each in metrics.items()],
        tables=tables,
        charts=_seed_charts({seed: best.path.parent / f"seed-{seed}" for seed in seeds}, chosen_by),
        note=larger_class(FinetunedFolder(path)),
        examples=_examples(FinetunedFolder(path)),
        errors=errors_section(best.errors),
        about=read_about(best.about),
        settings=best.config.read_text(encoding="utf-8") if best.config.exists() else "",
    )


def _variants(path: Path) -> FinetuningPage:
    """Return the page about several ways to train one task."""
    file = path / "variants.json"
    where = str(file)
    variants = checked(entry(read_object(file), "variants", where=where), dict[str, object], where, "variants")
    return _several(path, {name: _metrics(each, where) for name, each in variants.items()}, "variant", [])


def _suite(path: Path) -> FinetuningPage:
    """Return the page about all tasks of GLUE."""
    file = path / "glue.json"
    content, where = read_object(file), str(file)
    tasks = checked(entry(content, "tasks", where=where), dict[str, dict[str, object]], where, "tasks")
    average = checked(entry(content, "average", where=where), float, where, "average")
    metrics = {name: _metrics(entry(task, "metrics", where=where), where) for name, task in tasks.items()}
    return _several(path, metrics, "task", [Figure(f"{100 * average:.1f}", "average of the tasks")])


def _several(
    path: Path, results: Mapping[str, Mapping[str, Metric]], kind: str, figures: list[Figure]
) -> FinetuningPage:
    rows = [
        (name, metric, each.in_words(), f"{each.examples:,}")
        for name, metrics in results.items()
        for metric, each in metrics.items()
    ]
    names = list(dict.fromkeys(metric for metrics in results.values() for metric in metrics))
    charts = [_bars(metric, results) for metric in names if metric.startswith(VALIDATION)]
    best = next(iter(sorted(path.glob("*/scores.json"))), path / "-").parent
    about = read_about(next(iter(sorted(best.glob("seed-*/about.json"))), best / "about.json"))
    return FinetuningPage(
        name=path.resolve().name,
        lead=number_of(len(results), kind),
        figures=figures or [_figure(name, next(iter(each.values()))) for name, each in results.items() if each],
        tables=[Table("Scores", [kind, "metric", "mean ± sd", "examples"], rows)],
        charts=[chart for chart in charts if chart is not None],
        note="",
        examples=None,
        errors="",
        about=about,
        settings="",
    )


def _bars(metric: str, results: Mapping[str, Mapping[str, Metric]]) -> Chart | None:
    rows = [
        (name, each[metric].mean, f"{name}: {each[metric].in_words()}")
        for name, each in results.items()
        if metric in each
    ]
    return bar_chart(metric, "mean over seeds", rows)


def _seed_charts(seeds: Mapping[str, Path], chosen_by: str) -> list[Chart]:
    """Return what chose the checkpoints, and both losses, by step, a curve for each seed."""
    columns = {seed: read_columns(RunFolder(folder).metrics) for seed, folder in seeds.items()}
    wanted = {
        chosen_by: f"val/{chosen_by.partition('/')[2]}",
        "held-out loss": "val/loss",
        "training loss": "train/loss",
    }
    charts = []
    for title, key in wanted.items():
        curves = [
            Curve(f"seed {seed}", *columns[seed][key], PALETTE[number % len(PALETTE)])
            for number, seed in enumerate(columns)
            if key in columns[seed]
        ]
        charts.append(line_chart(title, "nats" if key.endswith("loss") else "", curves))
    return [chart for chart in charts if chart is not None]


def _examples(folder: FinetunedFolder) -> ExampleTable | None:
    lines = list(islice(folder.read_predictions(VALIDATION), MOST_EXAMPLES))
    keys = [name for name in (lines[0] if lines else {}) if not name.startswith("score")]
    names = sorted(keys, key=lambda name: name == "id")  # what identifies an example stands last
    rows = [[_shown(line.get(name)) for name in names] for line in lines]
    return ExampleTable("predictions", 0, names, rows) if rows else None


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _metrics(content: object, where: str) -> dict[str, Metric]:
    metrics = checked(content, dict[str, object], where, "metrics")
    return {name: build(Metric, without_unknown(Metric, each), where, name) for name, each in metrics.items()}


def _figure(name: str, metric: Metric) -> Figure:
    spread = "" if metric.standard_deviation is None else f" ± {metric.standard_deviation:.4f}"
    return Figure(f"{metric.mean:.4f}", name + spread)


def _spread(metric: Metric) -> str:
    return _score(metric.standard_deviation)


def _score(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"
