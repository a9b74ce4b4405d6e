"""The predictions that a fine-tuning has kept, of every seed, and the scores that they gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_lightning.settings.finetuned_folder import FinetunedFolder
from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.numbered_lines import numbered_lines
from data_pipeline.untrusted.typed_fields import checked, entry, listed, shown

Lines = list[dict[str, Any]]
_SEVERAL = ("glue.json", "variants.json")
"""Files of a folder with several fine-tunings."""


@dataclass(frozen=True, slots=True)
class SeedPredictions:
    """What one seed said to the examples of a split.

    Attributes:
        path: The file.
        lines: Its lines, one for each example.
        metrics: Value of every metric of the split as the training wrote it, by name.
    """

    path: Path
    lines: Lines
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class KeptPredictions:
    """What all seeds of a fine-tuning said to the examples of a split.

    Attributes:
        task: Name of the task.
        seeds: The predictions of each seed.
    """

    task: str
    seeds: list[SeedPredictions]


def read_kept(path: Path, split: str) -> KeptPredictions:
    """Return the predictions of all seeds of a fine-tuning, of the winner if it searched a grid.

    Args:
        path: Folder of bert-finetune, or of one of its seeds.
        split: Name of the split, such as validation.

    Raises:
        ValueError: naming the file that is missing or damaged, or the split whose right answers are not known.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    scores = FinetunedFolder(path).read_scores()
    if scores is None:
        has_several = any((path / name).exists() for name in _SEVERAL)
        more = "; it holds several fine-tunings, take the folder of one of them" if has_several else ""
        raise ValueError(f"{path} holds no scores.json of a finished bert-finetune{more}")
    where = str(path / "scores.json")
    task = checked(entry(scores, "task", where=where), str, where, "task")
    seeds = [_read_seed(folder, split) for folder in _seed_folders(path, scores, where)]
    return KeptPredictions(task, seeds)


def _seed_folders(path: Path, scores: Mapping[str, Any], where: str) -> list[Path]:
    """Return the folders of the seeds, which lie beside that of the best one."""
    if "best_seed" not in scores:
        return [path]
    checkpoint = Path(checked(entry(scores, "checkpoint", where=where), str, where, "checkpoint"))
    metrics = checked(entry(scores, "metrics", where=where), dict[str, object], where, "metrics")
    values = checked(
        entry(next(iter(metrics.values()), None), "values", where=where), dict[str, float], where, "values"
    )
    best = next((folder for folder in checkpoint.parents if folder.name == f"seed-{scores['best_seed']}"), None)
    if best is None or checkpoint.is_absolute() or ".." in checkpoint.parts:
        raise ValueError(f"{where} names the checkpoint {shown(str(checkpoint))}, which is in no folder of a seed")
    return [path / best.parent / f"seed-{seed}" for seed in values]


def _read_seed(folder: Path, split: str) -> SeedPredictions:
    scores = FinetunedFolder(folder).read_scores()
    if scores is None:
        raise ValueError(f"{folder} holds no scores.json: the predictions of this seed are not there")
    where = str(folder / "scores.json")
    metrics = checked(entry(scores, "metrics", where=where), dict[str, float], where, "metrics")
    of_split = {name.partition("/")[2]: value for name, value in metrics.items() if name.partition("/")[0] == split}
    if not of_split:
        known = listed(dict.fromkeys(name.partition("/")[0] for name in metrics))
        raise ValueError(f"split={split} has no scores in {where}; it has those of {known}")
    path = FinetunedFolder(folder).predictions(split)
    lines = [parse_object(line, f"{path}, line {number}") for number, line in numbered_lines(path)]
    for number, line in enumerate(lines, 1):
        for name in ("id", "prediction", "label"):
            entry(line, name, where=f"{path}, line {number}")
    if not lines:
        raise ValueError(f"{path} holds no predictions")
    return SeedPredictions(path, lines, of_split)


def check_same_examples(first: SeedPredictions, second: SeedPredictions) -> None:
    """Raise a ValueError with the first line that differs if two files are not of the same examples."""
    for number, (one, other) in enumerate(zip(first.lines, second.lines, strict=False), 1):
        for name in ("id", "label"):
            if one[name] != other[name]:
                raise ValueError(
                    f"the examples differ: line {number} of {first.path} has {name}={shown(one[name])}, "
                    f"that of {second.path} has {shown(other[name])}"
                )
    if len(first.lines) != len(second.lines):
        raise ValueError(
            f"the examples differ: {first.path} has {len(first.lines)} of them, {second.path} has {len(second.lines)}"
        )
