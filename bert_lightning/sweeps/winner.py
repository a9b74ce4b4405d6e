"""The best trial as a command to copy and as a config to run."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from bert_lightning.reports.trial_row import TrialRow

NOT_OF_THE_RUN = ("run_name", "resume", "run_dir")
"""Settings of the command line that are the search's and not the winner's."""


def command(program: Sequence[str], overrides: Sequence[str], run_name: str) -> str:
    """Return the line that trains with the values of a trial.

    >>> command(["bert-pretrain"], ["model=bert_mini", "run_name=lr", "optimizer.betas=[0.9,0.98]"], "lr-best")
    "bert-pretrain model=bert_mini 'optimizer.betas=[0.9,0.98]' run_name=lr-best"
    """
    kept = [each for each in overrides if each.partition("=")[0].lstrip("+~") not in NOT_OF_THE_RUN]
    return shlex.join([*program, *kept, f"run_name={run_name}"])


def as_config(
    row: TrialRow, metric: str, config_name: str, overrides: Sequence[str], loader: ConfigLoader, folder: Path
) -> str:
    """Return a config that has the settings of a trial, to run with --config-dir and --config-name.

    Args:
        row: The trial.
        metric: The metric of the search.
        config_name: Name of the config of the command.
        overrides: All overrides of the trial but those that make it one.
        loader: Hydra's loader, which knows the groups.
        folder: Folder of the search.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    kept = [each for each in parsed if each.get_key_element().lstrip("+~") not in NOT_OF_THE_RUN]
    is_group = {id(each): loader.get_group_options(str(each.key_or_group)) != [] for each in kept}
    defaults: list[Any] = [config_name]
    values: dict[str, Any] = {}
    for override in kept:
        if is_group[id(override)]:
            defaults.append(_default(override))
        else:
            _set(values, str(override.key_or_group).split("."), None if override.is_delete() else _plain(override))
    name = f"{folder.name}-best"
    lines = (
        f"# Trial {row.number} of the search {folder}: {metric}={row.value}, trained in {row.run_dir}",
        f"# bert-{config_name} --config-dir={shlex.quote(str(folder))} --config-name=best run_name={name}",
    )
    content = {"defaults": [*defaults, "_self_"], **values, "run_name": name}
    return "\n".join([*lines, OmegaConf.to_yaml(OmegaConf.create(content))])


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
