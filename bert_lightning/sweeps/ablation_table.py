"""What an ablation has reached so far: the content of ablation.json, and the same as a table to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table

from bert_lightning.metrics.over_seeds import mean_and_spread, over_seeds, paired_differences
from bert_lightning.reports.ablation_page import AblationPage, AblationRun, ablation_page
from bert_lightning.settings.run_folder import write_whole
from bert_lightning.sweeps.ablation_folder import AblationFolder
from bert_lightning.sweeps.ablation_settings import Changes
from data_pipeline.untrusted.escaping import printable

LOSS = "held_out/mlm_loss"
ALWAYS = {LOSS: "MLM loss", "held_out/mlm_accuracy": "MLM accuracy"}
"""Metrics that every table shows, and their titles."""
IF_THERE = {"held_out/causal_loss": "next-token loss"}
"""Metrics that a table shows if a variant has them, and their titles."""
SIZES = (("M tokens", "tokens", 1e6), ("minutes", "seconds", 60), ("M weights", "encoder_parameters", 1e6))
"""Titles of means over the runs, what they are means of, and their units; the last one is shown if variants differ."""
STEPS = "steps"
MEASURED = "held_out/examples"
"""A metric that every run has which was measured."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of an ablation.

    Attributes:
        variant: Name of the variant.
        seed: The seed.
        folder: Folder of the run.
        status: What has become of the run, and why it failed.
        steps: Optimizer steps.
        tokens: Real tokens that were read.
        seconds: Seconds of its training, without validation and what a kill has lost.
        encoder_parameters: Number of weights of the encoder; 0 if the run has not noted it.
        metrics: What was measured, by name; nothing before the end of the run.
    """

    variant: str
    seed: int
    folder: str
    status: str
    steps: int
    tokens: int
    seconds: float
    encoder_parameters: int
    metrics: Mapping[str, float]


def ablation_content(
    name: str,
    command: str,
    variants: Mapping[str, Changes],
    rows: Sequence[RunRow],
    held_out: Mapping[str, object],
    chosen: Sequence[str],
) -> dict[str, Any]:
    """Return the content of ablation.json.

    Args:
        name: Name of the ablation.
        command: The line that goes on with it.
        variants: Changes of each variant, the one that the others are compared with first.
        rows: The runs.
        held_out: What decides the held-out examples.
        chosen: Metrics of tasks that the table shows besides the held-out ones, such as sst2/validation/accuracy.
    """
    reference = next(iter(variants))
    values = {variant: _values(rows, variant) for variant in variants}
    return {
        "name": name,
        "command": command,
        "seeds": sorted({row.seed for row in rows}),
        "reference": reference,
        "held_out": held_out,
        "chosen": list(chosen),
        "variants": {
            variant: {
                "changes": changes,
                "runs": {str(row.seed): _run(row) for row in rows if row.variant == variant},
                "metrics": {metric: over_seeds(each) for metric, each in values[variant].items()},
                "differences": {
                    metric: difference
                    for metric, each in values[variant].items()
                    if variant != reference
                    and (difference := paired_differences(each, values[reference].get(metric, {}))) is not None
                },
            }
            for variant, changes in variants.items()
        },
    }


def _values(rows: Sequence[RunRow], variant: str) -> dict[str, dict[str, float]]:
    """Return the values of every metric of a variant, by seed."""
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.variant == variant:
            for metric, value in row.metrics.items():
                values.setdefault(metric, {})[str(row.seed)] = value
    return values


def _run(row: RunRow) -> dict[str, Any]:
    names = ("folder", "status", "steps", "tokens", "seconds", "encoder_parameters")
    return {name: getattr(row, name) for name in names}


def table_lines(content: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells of the table, the titles first.

    Args:
        content: What `ablation_content` returns.
    """
    tasks = {name: f"{name.split('/')[0]} {name.split('/')[-1]}" for name in content.get("chosen", [])}
    known = {name for reached in content["variants"].values() for name in reached["metrics"]}
    more = {name: title for name, title in IF_THERE.items() if name in known} | tasks
    measured = {
        variant: [run for seed, run in reached["runs"].items() if _is_measured(seed, reached["metrics"])]
        for variant, reached in content["variants"].items()
    }
    weights = {run["encoder_parameters"] for runs in measured.values() for run in runs}
    sizes = SIZES if len(weights) > 1 else SIZES[:-1]
    size_titles = ["runs", STEPS, *(title for title, _, _ in sizes)]
    lines = [["variant", *size_titles, *ALWAYS.values(), "difference", *more.values()]]
    for variant, reached in content["variants"].items():
        metrics, runs = reached["metrics"], measured[variant]
        steps = sorted({run["steps"] for run in runs})
        cells = [str(len(runs)), " to ".join(map(str, dict.fromkeys([*steps[:1], *steps[-1:]]))) or "-"]
        cells += [f"{mean(run[key] for run in runs) / unit:.2f}" if runs else "-" for _, key, unit in sizes]
        cells += [mean_and_spread(metrics[name], 3) if name in metrics else "-" for name in ALWAYS]
        difference = reached["differences"].get(LOSS)
        cells.append("-" if difference is None else mean_and_spread(difference, 3, signed=True))
        cells += [mean_and_spread(metrics[name], 3) if name in metrics else "-" for name in more]
        lines.append([variant, *cells])
    return lines


def _is_measured(seed: str, metrics: Mapping[str, Any]) -> bool:
    """Return whether the run of a seed was measured, by the metrics of its variant over seeds."""
    return MEASURED in metrics and seed in metrics[MEASURED]["values"]


def as_markdown(content: Mapping[str, Any], lines: Sequence[Sequence[str]]) -> str:
    """Return the table as a page of Markdown, with the runs that are not, or not wholly, in it."""
    titles, *rows = lines
    text = [f"# {content['name']}", "", _row(titles), _row(["---"] * len(titles)), *map(_row, rows), ""]
    text.append(explanation(content))
    missing = [
        f"- {variant}, seed {seed}: {run['status']}, in `{run['folder']}`"
        for variant, reached in content["variants"].items()
        for seed, run in reached["runs"].items()
        if run["status"].startswith("failed") or not _is_measured(seed, reached["metrics"])
    ]
    if missing:
        text += ["", "Runs that are not, or not wholly, in the table:", "", *missing]
    return "\n".join(text) + "\n"


def explanation(content: Mapping[str, Any]) -> str:
    """Return what the cells of the table are."""
    difference = f"difference: MLM loss less that of {content['reference']} with the same seed"
    return f"Mean ± standard deviation over runs; {difference}."


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def as_rich_table(lines: Sequence[Sequence[str]], caption: str, width: int) -> Table:
    """Return the table for a console; if words would be cut, steps and sizes of the runs are left out.

    Args:
        lines: What `table_lines` returns.
        caption: What stands below the table.
        width: Characters of a line.
    """
    longest = [max(len(word) for cell in column for word in cell.split()) for column in zip(*lines, strict=True)]
    if sum(longest) + 3 * len(longest) + 1 > width:
        left_out = {STEPS, *(title for title, _, _ in SIZES)}
        kept = [number for number, title in enumerate(lines[0]) if title not in left_out]
        lines = [[line[number] for number in kept] for line in lines]
    titles, *rows = lines
    table = Table(*map(printable, titles), caption=caption)
    for row in rows:
        table.add_row(*map(printable, row))
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    return table


def write_ablation_report(folder: AblationFolder, content: Mapping[str, Any]) -> None:
    """Write the page about an ablation.

    Args:
        folder: The folder of the ablation.
        content: What `ablation_content` returns, as its file has it.

    Raises:
        ValueError: if the content, or a file of a run, is damaged.
    """
    try:
        page = _page(folder.path, content)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder.json} is damaged: {type(error).__name__}: {error}") from None
    write_whole(folder.report, ablation_page(page))


def _page(path: Path, content: Mapping[str, Any]) -> AblationPage:
    variants, tasks = content["variants"], content.get("chosen", [])
    titles = ALWAYS | IF_THERE | {name: name for name in tasks}
    measured = {
        title: {
            variant: reached["metrics"][name]["values"]
            for variant, reached in variants.items()
            if name in reached["metrics"]
        }
        for name, title in titles.items()
    }
    runs = [
        AblationRun(variant, seed, run["status"], path / variant / f"seed-{seed}", _is_measured(seed, each["metrics"]))
        for variant, each in variants.items()
        for seed, run in each["runs"].items()
    ]
    changes = {variant: each["changes"] for variant, each in variants.items()}
    lines = table_lines(content)
    values = {title: each for title, each in measured.items() if each}
    return AblationPage(content["name"], lines, explanation(content), changes, runs, values, content.get("command"))
