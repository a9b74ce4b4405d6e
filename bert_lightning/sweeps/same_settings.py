"""Which settings make a run, or a search, the one that it was when it began, and which may have another value."""

import os
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings.changed_settings import leaves
from bert_lightning.settings.typed_words import PATHS

MAY_CHANGE = (
    *("run_name", "output_dir", "resume", "logger", "compile", "strategy", "data.num_workers", "data.cache"),
    *("data.retries", "trainer.devices", "trainer.num_nodes", "trainer.accelerator", "trainer.max_time"),
)
"""Beginnings of settings that change nothing that a run reaches."""


def may_change(key: str) -> bool:
    """Return whether a setting may have another value when the same run or search goes on.

    >>> may_change("logger.csv.run_dir"), may_change("+logger.wandb.tags"), may_change("optimizer.lr")
    (True, True, False)
    """
    return key.lstrip("+~").startswith(MAY_CHANGE)


def decisive(settings: DictConfig) -> dict[str, Any]:
    """Return the settings that decide what a run reaches, by their dotted names; where its folder lies does not."""
    plain = dict(leaves(OmegaConf.to_container(settings, resolve=True)))
    folders = {name: str(plain[name]) for name in ("run_dir", "output_dir") if plain.get(name) is not None}
    return {key: _without(folders, value) for key, value in plain.items() if not may_change(key)}


def _without(folders: Mapping[str, str], value: Any) -> Any:
    """Return a value with the name of a folder in the place of its path."""
    for name, path in folders.items():
        if isinstance(value, str) and (value == path or value.startswith(f"{path}/")):
            return f"<{name}>{value[len(path) :]}"
    return value


def is_same(key: str, one: str | None, other: str | None) -> bool:
    """Return whether two overrides of a key say the same, however they are spelled.

    >>> is_same("trainer.max_steps", "1_000", "1000"), is_same("data.path", "./x", "x"), is_same("a", None, "1")
    (True, True, False)

    Args:
        key: The key.
        one: A value in the words of the command line; None if the key is not given.
        other: Another one.
    """
    return one == other or (bool(one) and bool(other) and _value(key, str(one)) == _value(key, str(other)))


def _value(key: str, word: str) -> Any:
    value = OverridesParser.create().parse_override(f"key={word}").value()
    if isinstance(value, str) and key.rpartition(".")[2].lstrip("+") in PATHS and "://" not in value:
        return os.path.abspath(value)
    return value
