"""What W&B has written into the folder of a run, as its own reader shows it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def wandb_records(run_dir: Path) -> list[dict[str, Any]]:
    """Return the records of all parts of a run, the oldest part first."""
    program = Path(sys.executable).with_name("wandb")
    lines = []
    for part in sorted((run_dir / "wandb").glob("offline-run-*/run-*.wandb")):
        command = [program, "leet", "inspect", "--json", part]
        lines += subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def wandb_config(run_dir: Path) -> dict[str, Any]:
    """Return the config of a run."""
    updates = [record["config"]["update"] for record in wandb_records(run_dir) if record["type"] == "config"]
    return {name: value for update in updates for name, value in update.items()}
