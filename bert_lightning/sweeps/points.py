"""The points of a sweep: what each overrides, and the folder that no other point has."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bert_lightning.settings.changed_settings import leaves
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.sweeps.trial_overrides import in_hydras_words

LONGEST_NAME = 120
"""Characters; file systems take 255 bytes for the name of a folder."""
NAMES_A_TASK = "${task.name}"
"""The run_name of bert-finetune if the user gives none."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep.

    Attributes:
        number: Position in the sweep, from 0.
        swept: The overrides that make it differ from the other points, as text.
        overrides: All overrides of the command line for this point, its `run_name` among them.
        settings: The settings that follow from them; None if there are none.
        error: Why there are no settings.
    """

    number: int
    swept: str
    overrides: tuple[str, ...]
    settings: DictConfig | None = None
    error: str | None = None

    @property
    def run_dir(self) -> Path | None:
        """Folder of the run."""
        return None if self.settings is None else Path(self.settings.run_dir)

    @property
    def is_held(self) -> bool:
        """Whether a process trains in the folder of the point, or in one of its folders, such as that of a seed."""
        run_dir = self.run_dir
        return run_dir is not None and any(RunFolder(each).is_held() for each in (run_dir, *run_dir.glob("*")))


def point_name(swept: Mapping[str, str]) -> str:
    """Return the name of a point, which is the same however the keys are ordered, and fit for a file system.

    A value that has to be changed for it, or cut, is told apart from others by a hash.

    >>> point_name({"seed": "1", "optimizer.lr": "0.001"})
    'optimizer.lr=0.001,seed=1'
    >>> point_name({"optimizer.betas": "[0.9,0.98]"})
    'optimizer.betas=0.9_0.98-c6b81364'

    Args:
        swept: Values by key.
    """
    plain = {key.lstrip("+~"): value.strip("'\"") for key, value in sorted(swept.items())}
    name = ",".join(f"{_clean(key)}={_clean(value)}" for key, value in plain.items())
    if len(name) <= LONGEST_NAME and all(_clean(value) == value for value in plain.values()):
        return name
    digest = hashlib.sha256(json.dumps(sorted(swept.items())).encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def _clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("_")


def plan_points(overrides: Sequence[Override], compose: Callable[[int, Sequence[str]], DictConfig]) -> list[Point]:
    """Return the points of a sweep in their order.

    The folder of a point is named after it and lies in the one of the sweep, `<output_dir>/<run_name>`, unless the
    user names every run, by sweeping `run_name` or by an interpolation in it.

    Args:
        overrides: The overrides of the command line.
        compose: Returns the settings of a point for its number and its overrides.

    Raises:
        ValueError: if two points would share a folder.
        HydraException: if no point has settings.
    """
    last = {override.get_key_element(): override for override in overrides}
    swept = {key for key, override in last.items() if override.is_sweep_override()}
    combinations = BasicSweeper.split_arguments(list(overrides), None)[0]
    points = []
    first_error: Exception | None = None
    for number, combination in enumerate(combinations):
        values = dict(each.split("=", 1) for each in combination)
        differing = {key: value for key, value in values.items() if key in swept}
        shown = " ".join(f"{key}={value}" for key, value in differing.items())
        try:
            name = _run_name(compose(number, combination), differing)
            named = (*combination, f"run_name={in_hydras_words(name)}")
            settings = compose(number, named)
            OmegaConf.resolve(settings)
            points.append(Point(number, shown, named, settings))
        except (ValueError, HydraException, OmegaConfBaseException) as error:
            first_error = first_error or error
            points.append(Point(number, shown, tuple(combination), error=" ".join(str(error).split())))
    if first_error is not None and all(point.error for point in points):
        raise first_error
    check_folders(points)
    return points


def _run_name(settings: DictConfig, differing: Mapping[str, str]) -> str:
    """Return the name of the run of a point."""
    raw: Any = OmegaConf.to_container(settings, resolve=False)
    named_by_user = "run_name" in differing or ("${" in str(raw["run_name"]) and raw["run_name"] != NAMES_A_TASK)
    return str(settings.run_name) if named_by_user or not differing else f"{settings.run_name}/{point_name(differing)}"


def check_folders(points: Sequence[Point]) -> None:
    """Raise a ValueError if two points would train in one folder."""
    holders: dict[Path, Point] = {}
    for point in points:
        if point.run_dir is None:
            continue
        other = holders.setdefault(point.run_dir.absolute(), point)
        if other is not point:
            raise ValueError(
                f"the points {other.swept} and {point.swept} of the sweep would both train in {point.run_dir}; leave "
                "out what they share, or let run_name differ"
            )


def needed_runs(points: Sequence[Point]) -> dict[int, list[Point]]:
    """Return, by the number of each point, the other points whose folders its settings name, as that of a teacher.

    Args:
        points: The points of a sweep.
    """
    folders = {os.path.abspath(point.run_dir): point for point in points if point.run_dir is not None}
    needed: dict[int, list[Point]] = {}
    for point in points:
        own = None if point.run_dir is None else os.path.abspath(point.run_dir)
        named = [lying for text in _texts(point) if own not in (lying := _folders_of(text))]
        places = dict.fromkeys(place for lying in named for place in lying if place in folders)
        needed[point.number] = [folders[place] for place in places]
    return needed


def _texts(point: Point) -> list[str]:
    plain = {} if point.settings is None else OmegaConf.to_container(point.settings, resolve=True)
    return [value for _, value in leaves(plain) if isinstance(value, str)]


def _folders_of(text: str) -> list[str]:
    """Return a text as an absolute path, and all folders that it lies in."""
    path = Path(os.path.abspath(text))
    return [str(path), *map(str, path.parents)]
