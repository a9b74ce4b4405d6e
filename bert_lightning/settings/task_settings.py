"""The settings of a task group that the task itself knows, and those that only its training knows."""

from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings.setting_types import check_types

TRAINING_KEYS = ("recipe", "train_examples")
"""Settings of the task group that the task itself does not know."""


def known_settings(task: DictConfig) -> DictConfig:
    """Return the settings of a task group that the task itself knows, with their types checked."""
    known = OmegaConf.masked_copy(task, [str(name) for name in task if name not in TRAINING_KEYS])
    check_types(known, "task")
    return known
