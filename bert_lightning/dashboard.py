"""bert-dashboard: save the charts of a project as a workspace in W&B."""

import logging
import os
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from bert_lightning.metrics.wandb_account import refusal, wandb_key, wandb_server
from bert_lightning.reports.workspace import import_workspaces, make_workspace, save_workspace, write_view
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.run_folder import check_file_place
from bert_lightning.settings.setting_types import check_values

log = logging.getLogger("bert_lightning.dashboard")


def dashboard(cfg: DictConfig) -> str:
    """Save the workspace, or write it as JSON, and return its address or the path of the file.

    Raises:
        ValueError: naming the setting that is wrong, or what keeps W&B from saving the workspace.
    """
    check_values(cfg, project=str, entity=str | None, name=str, url=str | None, output=str | None, metric=str)
    if cfg.output is not None:
        check_file_place(Path(cfg.output))
    import_workspaces()
    sections = instantiate(cfg.sections, _convert_="all")
    if cfg.output is not None:
        write_view(make_workspace(cfg.entity or "", cfg.project, cfg.name, sections), Path(cfg.output))
        log.info("the workspace is in %s", cfg.output)
        return str(cfg.output)
    _check_account()
    entity = cfg.entity or _default_entity()
    address = save_workspace(make_workspace(entity, cfg.project, cfg.name, sections), cfg.url)
    log.info("the workspace is at %s", address)
    return address


def _check_account() -> None:
    """Raise a ValueError if W&B cannot be used."""
    if (key := wandb_key()) is None:
        raise ValueError(
            "bert-dashboard needs an account of W&B: run `wandb login`, or set WANDB_API_KEY; "
            "output=<file.json> writes the workspace without one"
        )
    if problem := refusal(wandb_server(), key):
        raise ValueError(problem)
    os.environ.setdefault("WANDB_SILENT", "true")


def _default_entity() -> str:
    import wandb

    api: Any = wandb.Api()
    return str(api.default_entity)


main = entry_point("dashboard", dashboard)

if __name__ == "__main__":
    main()
