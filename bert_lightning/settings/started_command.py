"""How a command was started: the name of its console script, and the options that give it configs of the user's own."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from bert_lightning.settings.conf_files import CONF_DIR


def command_name(hydra: DictConfig) -> str:
    """Return the name of a command without bert-, also if it was given another config by --config-name.

    Args:
        hydra: Hydra's own settings, with the name of the job, which is that of the command unless a user changes it.
    """
    name = str(hydra.job.get("name"))
    return name if (Path(CONF_DIR) / f"{name}.yaml").is_file() else str(hydra.job.config_name)


def config_path(hydra: DictConfig) -> str | None:
    """Return the folder that --config-path has put in the place of conf/, None without it."""
    path = _sources(hydra).get("main", CONF_DIR)
    return None if Path(path) == Path(CONF_DIR) else path


def config_dir(hydra: DictConfig) -> str | None:
    """Return the folder that --config-dir has added, None without it."""
    return _sources(hydra).get("command-line")


def started_by(hydra: DictConfig) -> list[str]:
    """Return the words with which a command begins, those before its overrides.

    Args:
        hydra: Hydra's own settings.
    """
    command, name = command_name(hydra), str(hydra.job.config_name)
    given = {"--config-path": config_path(hydra), "--config-dir": config_dir(hydra)}
    given["--config-name"] = name if name != command else None
    return [f"bert-{command}", *(f"{option}={value}" for option, value in given.items() if value is not None)]


def _sources(hydra: DictConfig) -> dict[str, str]:
    """Return the folders of configs by who has named them."""
    sources: Any = hydra.runtime.config_sources
    return {str(each.provider): str(each.path) for each in sources if each.schema == "file"}
