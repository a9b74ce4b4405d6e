"""Configurations as Hydra composes them."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from bert_lightning.settings.config import CONF_DIR


def compose_config(command: str, overrides: list[str]) -> DictConfig:
    """Return the configuration of a command, as Hydra composes it."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        return compose(command, overrides)
