"""bert-benchmark: the speed on this machine, beside that of other software for the same work, in one run."""

import bert_lightning.settings.idle_threads  # noqa: F401  before torch is loaded

# isort: split
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from bert_lightning.benchmarks.findings import Part
from bert_lightning.benchmarks.machine import machine
from bert_lightning.execution.float8 import check_float8, quieten_torchao
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.config import filled_in, prepared_folder
from bert_lightning.settings.hardware import find_accelerator, resolve_precision
from bert_lightning.settings.run_folder import check_file_place, write_whole
from bert_lightning.settings.setting_types import check_types
from bert_lightning.settings.task_settings import known_settings
from bert_lightning.settings.typed_words import unquoted
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.whole_numbers import check_whole_number

WIDTH = 180
"""Width of tables that are written to a file."""
PUBLISHED_VOCAB_SIZE = 30522
"""Size of BERT's vocabulary (uncased), used if no prepared data says another."""


def benchmark(cfg: DictConfig) -> dict[str, Any]:
    """Measure one part, print its tables, and write them as JSON if `output` is given.

    Returns:
        Date, command, machine and every table as records, as in the file.
    """
    for setting in ("output", "chart"):
        if cfg[setting]:
            check_file_place(Path(cfg[setting]), setting)
    check_types(OmegaConf.masked_copy(cfg, [name for name in map(str, cfg) if name not in ("part", "task")]))
    check_whole_number("seed", cfg.seed, least=0)
    cfg = resolved(cfg)
    quieten_torchao()  # transformers imports torchao if it is installed
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    part = _part(cfg)
    tables = part(console)
    for table in tables:
        table.show(console)
    found = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["bert-benchmark", *map(unquoted, sys.argv[1:])]),
        "machine": machine(),
        "tables": {table.title: table.as_records() for table in tables},
    }
    if cfg.output:
        write_whole(Path(cfg.output), json.dumps(found, indent=2) + "\n")
    return found


def _part(cfg: DictConfig) -> Part:
    """Return what is measured."""
    try:
        part: Part = instantiate(cfg.part, **_task(cfg))
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ModuleNotFoundError):
            cause = cause.__cause__
        if cause is None or (cause.name or "").partition(".")[0] != "transformers":
            raise
        raise ValueError(f"bert-benchmark needs the extra `hf` for what it compares with: {cause}") from error
    return part


def _task(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return the group of the task for a part that measures one."""
    if "task" not in cfg.part:
        return {}
    if OmegaConf.select(cfg, "task._target_") is None or not cfg.checkpoint:
        raise ValueError("part=finetune needs task=<name> task.path=<folder or file> and checkpoint=<encoder>")
    return {"task": known_settings(cfg.task)}


def resolved(cfg: DictConfig) -> DictConfig:
    """Return the settings with what depends on the machine and on the prepared data filled in."""
    if "teacher" in cfg.objective:
        raise ValueError("objective must be one without a teacher for bert-benchmark; it measures one model at a time")
    accelerator = find_accelerator(cfg.accelerator, "accelerator")
    precision = resolve_precision(cfg.precision, accelerator, "precision")
    if precision == "fp8":
        usual = round(cfg.lengths.mean_share * cfg.data.seq_len)
        shape = PackedShape(cfg.data.micro_batch_size, cfg.data.seq_len, usual)
        check_float8(accelerator, shape.token_multiple, "precision")
    vocab_size = cfg.model.vocab_size
    if vocab_size is None:
        path = OmegaConf.select(cfg, "data.path", throw_on_missing=False)
        vocab_size = prepared_folder(cfg.data).manifest.vocab_size if path else PUBLISHED_VOCAB_SIZE
    values = {"accelerator": accelerator, "precision": precision, "model": {"vocab_size": vocab_size}}
    return filled_in(cfg, values)


main = entry_point("benchmark", benchmark)

if __name__ == "__main__":
    main()
