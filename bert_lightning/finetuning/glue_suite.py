"""GLUE as a whole: which tasks a folder has, and the table with the score of every task and the average."""

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bert_lightning.settings.run_folder import write_whole
from data_pipeline.tasks.glue import GLUE_TASKS
from data_pipeline.untrusted.typed_fields import listed

log = logging.getLogger(__name__)
FROM_MNLI = ("rte", "mrpc", "stsb")
"""Tasks that gain from a model that has been trained on MNLI first (Liu et al., 2019, section 5.1)."""
GLUE_METRICS = {
    **dict.fromkeys(GLUE_TASKS, ("accuracy",)),
    "cola": ("matthews",),
    "stsb": ("pearson", "spearman"),
    "mrpc": ("f1", "accuracy"),
    "qqp": ("f1", "accuracy"),
}
"""The metrics whose mean is the score of a task (Wang et al., 2019, table 1)."""
LEFT_OUT = "wnli"
"""The task that the average leaves out, as Devlin et al. (2019, section 4.1) do."""
Metrics = Mapping[str, Mapping[str, Any]]


def tasks_in(path: Path, wanted: Sequence[str]) -> list[str]:
    """Return the tasks of GLUE that have training and validation files in a folder; say which have none.

    Raises:
        ValueError: if a name is no task of GLUE, or there are files of none.
    """
    if unknown := [name for name in wanted if name not in GLUE_TASKS]:
        raise ValueError(f"task.tasks must be some of {', '.join(GLUE_TASKS)}; got {unknown[0]}")
    present = [name for name in wanted if _has_files(path, name)]
    if not present:
        raise ValueError(f"task.path={path} has the files of none of {', '.join(wanted)}")
    if absent := [name for name in wanted if name not in present]:
        log.info("task.path=%s has no training and validation files of %s", path, listed(absent))
    return present


def _has_files(path: Path, name: str) -> bool:
    layout = GLUE_TASKS[name]
    folder = path / layout.folder
    return folder.is_dir() and all(layout.files(folder, split) for split in ("train", "validation"))


def score_of(task: str, metrics: Metrics) -> float:
    """Return the score of a task: the mean of GLUE's own metrics of it on the validation splits.

    >>> score_of("mrpc", {"validation/f1": {"mean": 0.9}, "validation/accuracy": {"mean": 0.8}})
    0.85
    >>> score_of("cola", {"validation/matthews": {"mean": 0.6}, "validation/accuracy": {"mean": 0.8}})
    0.6

    Args:
        task: Name of the task, which may go on after it, as in rte_from_mnli.
        metrics: Metrics by split and name.
    """
    counted = GLUE_METRICS[task.partition("_")[0]]
    splits = {name: name.split("/") for name in metrics}
    validated = [
        metrics[name]["mean"]
        for name, (split, metric) in splits.items()
        if metric in counted and not split.endswith("test")
    ]
    return round(statistics.fmean(validated), 6)


def average(scores: Mapping[str, float]) -> float:
    """Return the mean over the tasks of GLUE, without WNLI and what began from MNLI."""
    counted = [score for name, score in scores.items() if name in GLUE_TASKS and name != LEFT_OUT]
    return statistics.fmean(counted or scores.values())


def write_suite(path: Path, results: Mapping[str, Metrics]) -> Table:
    """Write the scores of all tasks and their average as JSON, and return them as a table.

    Args:
        path: The file.
        results: Metrics of every task, by its name.
    """
    scores = {name: score_of(name, metrics) for name, metrics in results.items()}
    tasks = {name: {"score": scores[name], "metrics": results[name]} for name in results}
    write_whole(path, json.dumps({"average": average(scores), "tasks": tasks}, indent=1) + "\n")
    table = Table("task", "score", "metrics", title="GLUE, validation splits")
    for name, metrics in results.items():
        shown = (f"{metric} {_shown(each)}" for metric, each in metrics.items())
        table.add_row(name, f"{100 * scores[name]:.1f}", "\n".join(shown))
    table.add_row("average", f"{100 * average(scores):.1f}", "")
    return table


def _shown(metric: Mapping[str, Any]) -> str:
    spread = metric["standard_deviation"]
    return f"{100 * metric['mean']:.1f}" + (f" +- {100 * spread:.1f}" if spread is not None else "")
