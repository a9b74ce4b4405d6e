"""The settings of a search, those of `hydra.sweeper` and those of `sweep`, checked."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from bert_lightning.metrics.wandb_rows import LOW_IS_GOOD
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.config import prepared_folder
from bert_lightning.settings.task_settings import known_settings
from bert_lightning.training.time_limit import seconds_of
from data_pipeline.whole_numbers import check_whole_number

DIRECTIONS = ("minimize", "maximize")
HIGH_IS_GOOD = ("accuracy", "f1", "exact_match")
"""Endings of metrics of which the highest value is the best; with those of `LOW_IS_GOOD` no setting is needed."""
ONE_SEED = ("GridSampler", "QMCSampler")
"""Samplers whose seed orders a list that is the same for all trials."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The settings of the sweeper.

    Attributes:
        n_trials: Trials of the whole search, over all starts.
        n_jobs: Trials at a time.
        max_time: How long this start may take, as DD:HH:MM:SS; None for no limit.
        seed: Seed of the suggestions.
        sampler: Config of Optuna's sampler.
        pruner: Config of Optuna's pruner; None prunes nothing.
        enqueue: Values to try first.
        keep_weights: "all" or "best": whose checkpoints stay.
        storage: Path of a journal or URL of a database; None keeps the study in the folder of the search.
    """

    n_trials: int
    n_jobs: int
    max_time: Any
    seed: int
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any] | None
    enqueue: tuple[Mapping[str, Any], ...]
    keep_weights: str
    storage: str | None

    @property
    def seconds(self) -> float | None:
        """How long this start may take."""
        return None if self.max_time is None else seconds_of(self.max_time)

    def make_sampler(self, number: int, **options: Any) -> Any:
        """Return the sampler for a trial.

        Its seed follows from the number of the trial, so a search that was killed suggests what it would have
        suggested. A sampler that is given a seed, or takes none, is left alone.

        Args:
            number: Number of the trial.
            options: Options that the sampler gets instead of its own, as far as it takes them.
        """
        name = str(self.sampler["_target_"])
        taken = inspect.signature(get_class(name)).parameters
        more = {key: value for key, value in options.items() if key in taken}
        if "seed" in taken and "seed" not in self.sampler:
            more["seed"] = self.seed * 1_000_003 + (0 if name.endswith(ONE_SEED) else number)
        return instantiate({**self.sampler, **more}, _convert_="all")


_KNOWN = tuple(each.name for each in fields(SearchSettings))


def usual_settings() -> dict[str, Any]:
    """Return the settings of a search of which nothing is said: those of hydra/sweeper=optuna."""
    content: Any = OmegaConf.to_container(OmegaConf.load(Path(CONF_DIR) / "hydra" / "sweeper" / "optuna.yaml"))
    return {name: content[name] for name in _KNOWN}


def read_settings(given: Mapping[str, Any]) -> SearchSettings:
    """Return the settings of the sweeper.

    Args:
        given: The group hydra.sweeper, without what is only Hydra's; what it lacks is as usual.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    plain: Any = OmegaConf.to_container(OmegaConf.create(dict(given)), resolve=True)
    if unknown := sorted(set(plain) - set(_KNOWN)):
        raise ValueError(f"hydra.sweeper.{unknown[0]} is none of the settings of a search: {', '.join(_KNOWN)}, params")
    usual = usual_settings()
    plain = usual | plain
    enqueue = plain["enqueue"] or []
    if not isinstance(enqueue, list) or not all(isinstance(each, dict) for each in enqueue):
        raise ValueError(f"hydra.sweeper.enqueue must be a list such as [{{optimizer.lr: 1e-3}}]; got {enqueue}")
    parts = {name: _part(plain[name], usual[name]) for name in ("sampler", "pruner")}
    settings = SearchSettings(**plain | parts | {"enqueue": tuple(enqueue)})
    check_whole_number("hydra.sweeper.n_trials", settings.n_trials)
    check_whole_number("hydra.sweeper.n_jobs", settings.n_jobs)
    check_whole_number("hydra.sweeper.seed", settings.seed, least=0)
    if settings.keep_weights not in ("all", "best"):
        raise ValueError(f"hydra.sweeper.keep_weights must be one of all, best; got {settings.keep_weights}")
    try:
        _ = settings.seconds
    except ValueError:
        raise ValueError(
            f"hydra.sweeper.max_time must be DD:HH:MM:SS, such as 00:08:00:00, or null; got {settings.max_time}"
        ) from None
    _check_parts(settings)
    return settings


def _part(config: Any, default: Mapping[str, Any]) -> Any:
    """Return the config of a sampler or a pruner; its name alone stands for the class with Optuna's defaults.

    Hydra merges the options of another class with those of the default. Of these it keeps what it takes.
    """
    if isinstance(config, str):
        return {"_target_": config}
    if not isinstance(config, dict) or config.get("_target_") in (None, default["_target_"]):
        return config
    try:
        taken = inspect.signature(get_class(config["_target_"])).parameters
    except (HydraException, ImportError, TypeError, ValueError):
        return config  # what is wrong is said when it is made
    return {key: value for key, value in config.items() if key in taken or key not in default or value != default[key]}


def _check_parts(settings: SearchSettings) -> None:
    """Make the sampler and the pruner once, so that a wrong setting of them is said now."""
    for name, config in (("sampler", settings.sampler), ("pruner", settings.pruner)):
        if name == "pruner" and config is None:
            continue
        if not isinstance(config, dict) or "_target_" not in config:
            raise ValueError(f"hydra.sweeper.{name} must be a group with a _target_ of Optuna; got {config}")
        try:
            settings.make_sampler(0) if name == "sampler" else instantiate(config)
        except (HydraException, ImportError, TypeError, ValueError) as error:
            cause = error.__cause__ or error
            raise ValueError(f"hydra.sweeper.{name}={config}: {' '.join(str(cause).split())}") from None


@dataclass(frozen=True, slots=True)
class Goal:
    """What a search is for.

    Attributes:
        metric: A metric of the validation, such as val/loss.
        direction: "minimize" or "maximize".
    """

    metric: str
    direction: Literal["minimize", "maximize"]

    @property
    def in_scores(self) -> str:
        """The name of the metric in the scores of a fine-tuning."""
        return f"validation/{self.metric.removeprefix('val/')}"


def check_measured(settings: DictConfig) -> None:
    """Raise a ValueError if trials of a pre-training would measure nothing; data that are searched say so themselves.

    Args:
        settings: The settings of the runs.
    """
    if "task" in settings or OmegaConf.is_missing(settings.data, "path"):
        return
    if settings.trainer.limit_val_batches == 0:
        raise ValueError(
            f"sweep.metric={settings.sweep.metric} is measured by a validation; got trainer.limit_val_batches=0"
        )
    manifest = prepared_folder(settings.data).manifest
    if not manifest.without(list(settings.data.exclude_shards)).splits.get("validation"):
        raise ValueError(
            f"sweep.metric={settings.sweep.metric} is measured on held-out documents, but data.path="
            f"{settings.data.path} has none"
        )


def read_goal(settings: DictConfig) -> Goal:
    """Return the metric of a search and its direction.

    Args:
        settings: The settings of the runs.

    Raises:
        ValueError: if the direction is needed and not given, or a fine-tuning is of a kind that has no one value.
    """
    metric, direction = settings.sweep.metric, settings.sweep.direction
    if not isinstance(metric, str) or not metric.startswith("val/"):
        raise ValueError(f"sweep.metric must be a metric of the validation, such as val/loss; got {metric}")
    if direction not in (None, *DIRECTIONS):
        raise ValueError(f"sweep.direction must be one of null, minimize, maximize; got {direction}")
    if "task" in settings and settings.task is not None:
        if settings.grid:
            raise ValueError("grid=true is a search of its own; hydra/sweeper=optuna searches without it")
        if settings.get("variants") is not None:
            raise ValueError("hydra/sweeper=optuna searches on one fine-tuning; variants are several")
        if settings.task.get("tasks") is not None:
            raise ValueError("hydra/sweeper=optuna searches on one task; task=glue is several")
        if direction is None and metric == f"val/{settings.task.chosen_by}":
            is_high = instantiate(known_settings(settings.task), _convert_="all").highest_is_best
            return Goal(metric, "maximize" if is_high else "minimize")
    if direction is None:
        if metric.endswith((*LOW_IS_GOOD, *HIGH_IS_GOOD)):
            return Goal(metric, "minimize" if metric.endswith(LOW_IS_GOOD) else "maximize")
        raise ValueError(f"sweep.direction must be minimize or maximize for sweep.metric={metric}; got null")
    return Goal(metric, direction)
