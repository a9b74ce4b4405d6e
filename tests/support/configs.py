"""Configurations as Hydra composes them."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from bert_lightning.settings.conf_files import CONF_DIR


def compose_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Return the configuration of a command, or of one file of a group, as Hydra composes it."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        return compose(name, list(overrides))
