"""The settings of an ablation, those of `hydra.sweeper`, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings.conf_files import CONF_DIR
from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.untrusted.typed_fields import shown
from data_pipeline.whole_numbers import check_whole_number

Changes = Mapping[str, Any]
"""Values by the key of the command line, such as masking.mask_prob or model."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_OURS = ("run_name", "output_dir", "run_dir", "resume", "seed")
"""Keys that an ablation gives every run itself."""
_OURS_IN_TASKS = (*_OURS, "seeds", "checkpoint", "variants", "grid")
"""Keys that an ablation gives every fine-tuning itself, or that would make several of it."""


@dataclass(frozen=True, slots=True)
class AblationSettings:
    """What an ablation compares, and how.

    Attributes:
        variants: Changes of each variant, by its name.
        seeds: Runs of each variant.
        tasks: Settings of bert-finetune for each task, by its name in the table.
        held_out: Format of the held-out examples that all variants are measured on.
    """

    variants: Mapping[str, Changes]
    seeds: int
    tasks: Mapping[str, Changes]
    held_out: PairFormat


def read_ablation(given: Mapping[str, Any]) -> AblationSettings:
    """Return the settings of an ablation.

    Args:
        given: The group hydra.sweeper, without what is only Hydra's. Hydra has resolved it, so what looks like an
            interpolation was escaped: each run resolves it among its own settings.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    if unknown := sorted(set(given) - {each.name for each in fields(AblationSettings)}):
        raise ValueError(
            f"hydra.sweeper.{unknown[0]} is none of the settings of an ablation: variants, seeds, tasks, params"
        )
    whole = OmegaConf.create(dict(given))
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(whole, ["variants", "seeds", "tasks"]))
    check_whole_number("hydra.sweeper.seeds", plain["seeds"])
    variants = _groups("variants", plain["variants"], "{low: {masking.mask_prob: 0.15}}", _OURS)
    if not variants:
        raise ValueError(
            "hydra.sweeper.variants must be settings by name, such as {low: {masking.mask_prob: 0.15}}; got "
            f"{shown(plain['variants'])}"
        )
    tasks = plain["tasks"] or {}
    if isinstance(tasks, dict):
        tasks = {name: {"task.path": task} if isinstance(task, str) else task for name, task in tasks.items()}
    checked = _groups("tasks", tasks, "{sst2: glue}", _OURS_IN_TASKS)
    complete = {name: _complete_task(name, task) for name, task in checked.items()}
    assert isinstance(whole, DictConfig)
    return AblationSettings(variants, plain["seeds"], complete, instantiate(whole.held_out))


def _groups(setting: str, groups: Any, example: str, taken: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return groups of overrides by name, without those that are null."""
    key = f"hydra.sweeper.{setting}"
    if groups is not None and not isinstance(groups, dict):
        raise ValueError(f"{key} must be settings by name, such as {example}; got {shown(groups)}")
    for name, changes in (groups or {}).items():
        if not _NAME.fullmatch(str(name)):
            raise ValueError(f"{key}: a name must be letters, digits and ._+-, because it names a folder; got {name}")
        if changes is not None and not isinstance(changes, dict):
            raise ValueError(f"{key}.{name} must be settings by key, such as {example}; got {shown(changes)}")
        if clash := sorted({str(each).lstrip("+~") for each in changes or {}} & set(taken)):
            raise ValueError(f"{key}.{name}.{clash[0]} cannot be given: the ablation gives it to every run")
    return {str(name): changes for name, changes in (groups or {}).items() if changes is not None}


def _complete_task(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a task with its name and absolute path; ValueError if either does not exist."""
    task, key = str(settings.get("task", name)), f"hydra.sweeper.tasks.{name}"
    known = sorted(path.stem for path in (Path(CONF_DIR) / "task").glob("*.yaml") if path.stem != "glue")
    if task not in known:
        raise ValueError(f"{key} must be, or name in `task`, one of {', '.join(known)}; got {task}")
    path = settings.get("task.path")
    if not isinstance(path, str) or not Path(path).exists():
        raise ValueError(f"{key} must give the folder or the file of the task in task.path; got {shown(path)}")
    return settings | {"task": task, "task.path": str(Path(path).absolute())}
