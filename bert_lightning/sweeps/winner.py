"""The best trial as a command to copy and as a config to run."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf

from bert_lightning.reports.trial_row import TrialRow
from bert_lightning.settings.started_command import command_name, config_dir, config_path

NOT_OF_THE_RUN = ("run_name", "resume", "run_dir")
"""Settings of the command line that are the search's and not the winner's."""


def command(program: Sequence[str], overrides: Sequence[str], run_name: str) -> str:
    """Return the line that trains with the values of a trial.

    >>> command(["bert-pretrain"], ["model=bert_mini", "run_name=lr", "optimizer.betas=[0.9,0.98]"], "lr-best")
    "bert-pretrain model=bert_mini 'optimizer.betas=[0.9,0.98]' run_name=lr-best"
    """
    kept = [each for each in overrides if each.partition("=")[0].lstrip("+~") not in NOT_OF_THE_RUN]
    return shlex.join([*program, *kept, f"run_name={run_name}"])


@dataclass(frozen=True, slots=True)
class BaseConfig:
    """What the config of a winner is built upon.

    Attributes:
        name: Name of the config.
        content: Its text, if it is a user's own and so has to be kept beside the winner; None for one of conf/.
        searchpath: Folders of a user's other configs.
    """

    name: str
    content: str | None
    searchpath: list[str]


def base_config(hydra: DictConfig) -> BaseConfig:
    """Return what the config of a winner is built upon: the command's config, or the one that --config-name has named.

    Args:
        hydra: Hydra's own settings of the search.
    """
    name = str(hydra.job.config_name)
    added = config_dir(hydra)
    searchpath = [] if added is None else [f"file://{added}"]
    own = next(
        (path for folder in (config_path(hydra), added) if folder for path in Path(folder).glob(f"{name}.yaml")), None
    )
    if name == command_name(hydra) or own is None:
        return BaseConfig(name, None, searchpath)
    content: Any = OmegaConf.to_container(OmegaConf.load(own))
    searchpath += content.get("hydra", {}).pop("searchpath", [])  # Hydra takes it from the config that is named alone
    return BaseConfig("base", OmegaConf.to_yaml(OmegaConf.create(content)), searchpath)


def winners_line(hydra: DictConfig, folder: Path, run_name: str) -> str:
    """Return the line that trains with the config of the winner.

    Args:
        hydra: Hydra's own settings of the search.
        folder: Folder of the search.
        run_name: Name of the run.
    """
    path = config_path(hydra)
    options = [*([f"--config-path={path}"] if path is not None else []), f"--config-dir={folder}", "--config-name=best"]
    return shlex.join([f"bert-{command_name(hydra)}", *options, f"run_name={run_name}"])


def as_config(
    row: TrialRow,
    metric: str,
    hydra: DictConfig,
    base: BaseConfig,
    overrides: Sequence[str],
    settings: DictConfig,
    loader: ConfigLoader,
    folder: Path,
) -> str:
    """Return a config that has the settings of a trial, to run with --config-dir and --config-name.

    Args:
        row: The trial.
        metric: The metric of the search.
        hydra: Hydra's own settings of the search.
        base: What the config is built upon.
        overrides: All overrides of the trial but those that make it one.
        settings: The settings that they make.
        loader: Hydra's loader, which knows the groups.
        folder: Folder of the search.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    kept = [each for each in parsed if each.get_key_element().lstrip("+~") not in NOT_OF_THE_RUN]
    is_group = {id(each): loader.get_group_options(str(each.key_or_group)) != [] for each in kept}
    defaults: list[Any] = [base.name]
    values: dict[str, Any] = {"hydra": {"searchpath": base.searchpath}} if base.searchpath else {}
    for override in kept:
        if is_group[id(override)]:
            defaults.append(_default(override))
        else:
            path = str(override.key_or_group).split(".")
            whole = _list_around(settings, path)
            value = None if override.is_delete() else _plain(override)
            _set(values, *((path, value) if whole is None else whole))
    name = f"{folder.name}-best"
    lines = (
        f"# Trial {row.number} of the search {folder}: {metric}={row.value}, trained in {row.run_dir}",
        f"# {winners_line(hydra, folder, name)}",
    )
    content = {"defaults": [*defaults, "_self_"], **values, "run_name": name}
    return "\n".join([*lines, OmegaConf.to_yaml(OmegaConf.create(content))])


def _list_around(settings: DictConfig, path: Sequence[str]) -> tuple[Sequence[str], Any] | None:
    """Return path and content of the list that a setting is in, such as phases for phases.0.share; else None.

    A config cannot name an entry of a list without the others.
    """
    for end in range(1, len(path)):
        around = OmegaConf.select(settings, ".".join(path[:end]))
        if isinstance(around, ListConfig):
            return path[:end], OmegaConf.to_container(around)
    return None


def _default(override: Override) -> dict[str, Any]:
    """Return an override of a group as an entry of a defaults list."""
    group = str(override.key_or_group) + (f"@{override.package}" if override.package else "")
    value = None if override.is_delete() else _plain(override)
    return {group if override.is_add() else f"override {group}": value}


def _plain(override: Override) -> Any:
    """Return the value of an override as YAML keeps it."""
    return _plain_value(override.value())


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(_plain_value(key)): _plain_value(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain_value(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else _text(value)


def _text(value: Any) -> str:
    return str(getattr(value, "text", value))


def _set(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        inner = values.get(name)
        if not isinstance(inner, dict):
            inner = values[name] = {}
        values = inner
    values[path[-1]] = value
