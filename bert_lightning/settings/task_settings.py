"""The settings of a task group: what the task itself knows, its files, and what only its training knows."""

from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings.setting_types import check_types

TRAINING_KEYS = ("recipe", "train_examples")
"""Settings that the task itself does not know."""
FILE_KEYS = ("path", "train", "validation", "test", "validation_share")
"""Settings that together are the files of a task."""
_FILES = "bert_lightning.finetuning.split_sources.SplitFiles"


def known_settings(task: DictConfig) -> DictConfig:
    """Return the settings of a task group that the task itself knows, with their types checked.

    The files of the task are one setting of them, `files`.

    Raises:
        ValueError: naming the setting that is missing or of another kind.
    """
    if OmegaConf.is_missing(task, "path"):
        raise ValueError("task.path must be the folder or the file of the task; it is not given")
    files = OmegaConf.create({"_target_": _FILES, **{name: task[name] for name in FILE_KEYS if name in task}})
    known = OmegaConf.masked_copy(task, [str(name) for name in task if name not in (*TRAINING_KEYS, *FILE_KEYS)])
    for group in (files, known):
        check_types(group, "task")
    return OmegaConf.create({**known, "files": files})
