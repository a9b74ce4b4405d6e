"""bert-benchmark: how fast it is here, beside what others use for the same work, measured in one run."""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from bert_lightning.benchmarks.findings import Part
from bert_lightning.benchmarks.machine import machine
from bert_lightning.cli import entry_point


def benchmark(cfg: DictConfig) -> dict[str, Any]:
    """Measure one part, print its tables and write them as JSON where asked.

    Returns:
        Date, command, machine and every table as records, as in the file.
    """
    if cfg.output and not Path(cfg.output).resolve().parent.is_dir():
        raise ValueError(f"output={cfg.output}: there is no folder {Path(cfg.output).resolve().parent}")
    console = Console()
    part: Part = instantiate(cfg.part)
    tables = part(console)
    for table in tables:
        table.show(console)
    found = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["bert-benchmark", *sys.argv[1:]]),
        "machine": machine(),
        "tables": {table.title: table.as_records() for table in tables},
    }
    if cfg.output:
        Path(cfg.output).write_text(json.dumps(found, indent=2) + "\n")
    return found


main = entry_point("benchmark", benchmark)

if __name__ == "__main__":
    main()
