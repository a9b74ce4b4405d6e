"""What a fine-tuning leaves behind: the scores and predictions of each seed, and the mean and spread over all seeds."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from bert_lightning.finetuning.task import VALIDATION, Split, Task
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.metrics.over_seeds import over_seeds
from bert_lightning.settings.finetuned_folder import SCORES, FinetunedFolder
from bert_lightning.settings.run_folder import RunFolder, partial_path, write_whole
from data_pipeline.untrusted.typed_fields import build
from data_pipeline.whole_numbers import check_whole_number


@dataclass(frozen=True, slots=True)
class SeedScores:
    """What one seed has reached.

    Attributes:
        task: Name of the task.
        seed: The seed.
        step: Step of the best checkpoint.
        checkpoint: Path of that checkpoint in the folder of the seed.
        chosen_by: Name of the metric that chose it, such as validation/accuracy.
        highest_is_best: Whether the highest value of it is the best.
        metrics: Value of every metric, by split and name.
        examples: Number of examples of every split that is scored.
        examples_sha256: Hash of the encoded examples of every split, the training split too.
    """

    task: str
    seed: int
    step: int
    checkpoint: str
    chosen_by: str
    highest_is_best: bool
    metrics: dict[str, float]
    examples: dict[str, int]
    examples_sha256: dict[str, str] = field(default_factory=dict)


def measure(task: Task, scored: Iterable[tuple[Split, ExampleScores]]) -> dict[str, float]:
    """Return the metrics of all splits whose right answers are known, by split and name."""
    return {
        f"{split.name}/{name}": value
        for split, scores in scored
        if split.is_labeled
        for name, value in task.metrics(split, scores).items()
    }


def write_seed(folder: Path, task: Task, scored: Sequence[tuple[Split, ExampleScores]], scores: SeedScores) -> None:
    """Write the predictions of a seed, then its scores, which mark it as finished."""
    files = FinetunedFolder(folder)
    for split, split_scores in scored:
        errors = task.errors(split, split_scores) if split.name == VALIDATION and split.is_labeled else None
        if errors is not None:
            write_whole(RunFolder(folder).errors, json.dumps(errors, ensure_ascii=False, indent=1) + "\n")
        _write_lines(files.predictions(split.name), task.predictions(split, split_scores))
        task.write_files(split, split_scores, folder)
    write_whole(files.scores, json.dumps(asdict(scores), indent=1) + "\n")


def _write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    partial = partial_path(path)
    with partial.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    partial.replace(path)


def read_seed(folder: Path) -> SeedScores | None:
    """Return the scores of a seed that is finished, None if it is not."""
    content = FinetunedFolder(folder).read_scores()
    return None if content is None else build(SeedScores, content, str(folder / SCORES))


def best_of(seeds: Sequence[SeedScores]) -> SeedScores:
    """Return the best of several seeds by the metric that chose their checkpoints, the first of equals."""
    sign = 1 if seeds[0].highest_is_best else -1
    return max(seeds, key=lambda each: sign * each.metrics[each.chosen_by])


def summary(seeds: Sequence[SeedScores]) -> dict[str, Any]:
    """Return mean, standard deviation, values and number of examples of every metric over seeds.

    The standard deviation is that of a sample, and absent for one seed.
    """
    metrics = {}
    for name in seeds[0].metrics:
        values = over_seeds({str(each.seed): each.metrics[name] for each in seeds})
        metrics[name] = {**values, "examples": seeds[0].examples[name.partition("/")[0]]}
    return metrics


def write_summary(folder: Path, seeds: Mapping[str, SeedScores], more: Mapping[str, Any] | None = None) -> None:
    """Write what all seeds have reached, and the predictions of the best one.

    Args:
        folder: Folder of the fine-tuning.
        seeds: Scores of each seed by its folder in `folder`.
        more: Further entries of scores.json.
    """
    best = best_of(list(seeds.values()))
    best_folder = next(name for name, each in seeds.items() if each is best)
    for path in (folder / best_folder).iterdir():
        if (
            path.is_file()
            and path.suffix in (".jsonl", ".json", ".tsv")
            and path.name not in (SCORES, "quantities.json")
        ):
            shutil.copyfile(path, partial_path(folder / path.name))
            partial_path(folder / path.name).replace(folder / path.name)
    content = {
        "task": best.task,
        "chosen_by": best.chosen_by,
        "highest_is_best": best.highest_is_best,
        "best_seed": best.seed,
        "checkpoint": f"{best_folder}/{best.checkpoint}",
        "metrics": summary(list(seeds.values())),
        **(more or {}),
    }
    write_whole(folder / SCORES, json.dumps(content, indent=1) + "\n")


def scores_table(title: str, metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return mean, standard deviation and number of examples of every metric as a table."""
    table = Table("metric", "mean", "sd", "seeds", "examples", title=title)
    for name, each in metrics.items():
        spread = each["standard_deviation"]
        shown = (f"{each['mean']:.4f}", "-" if spread is None else f"{spread:.4f}")
        table.add_row(name, *shown, str(len(each["values"])), f"{each['examples']:,}")
    return table


def seeds_of(first: Any, number: Any) -> list[int]:
    """Return the seeds of a fine-tuning: so many, from the first one on."""
    check_whole_number("seed", first, least=0)
    check_whole_number("seeds", number)
    return list(range(first, first + number))
