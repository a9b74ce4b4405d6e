"""Several ways to train one task, such as with a frozen encoder and without: their settings, and one table of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from bert_lightning.metrics.over_seeds import mean_and_spread
from bert_lightning.settings.config import filled_in
from bert_lightning.settings.run_folder import write_whole
from data_pipeline.untrusted.typed_fields import shown

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Metrics over all seeds, by the name of the variant."""


def variant_settings(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return the settings of every variant: those of all of them with its own changes, and a folder inside `run_dir`.

    Raises:
        ValueError: if the setting is no group of groups, or the task is several.
    """
    if not isinstance(cfg.variants, DictConfig) or not cfg.variants:
        raise ValueError(f"variants must be null, or settings by name; got {shown(cfg.variants)}")
    if cfg.task.get("tasks") is not None:
        raise ValueError(f"variants are of one task; task={cfg.task.name} is several")
    settings = {}
    for name in map(str, cfg.variants):
        changes = cfg.variants[name]
        if not isinstance(changes, DictConfig):
            raise ValueError(f"variants.{name} must be a group of settings; got {shown(changes)}")
        plain: Any = OmegaConf.to_container(changes)
        settings[name] = filled_in(cfg, {**plain, "run_name": f"{cfg.run_name}/{name}", "variants": None})
    return settings


def write_variants(path: Path, results: Results, chosen_by: str) -> Table:
    """Write the metrics of all variants as JSON, and return the metric that checkpoints are chosen by as a table.

    Args:
        path: The file.
        results: What the variants have reached.
        chosen_by: The metric.
    """
    write_whole(path, json.dumps({"variants": results}, indent=1) + "\n")
    metrics = [name for name in next(iter(results.values())) if name.partition("/")[2] == chosen_by]
    table = Table("variant", *metrics)
    for name, reached in results.items():
        table.add_row(name, *(mean_and_spread(reached[metric]) for metric in metrics))
    return table
