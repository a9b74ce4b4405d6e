"""Runs of bert-pretrain with tiny sizes: their settings, their launch, and how two of them compare."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from omegaconf import DictConfig

from bert_lightning.metrics.metrics_log import read_columns, read_rows
from bert_lightning.pretrain import pretrain
from tests.support.checkout import checkout_environment
from tests.support.configs import compose_config
from tests.support.settings import Settings, overrides
from tests.support.warm_start import run_module

NOT_REPEATABLE = ("throughput/",)


def compose_here(command: str, settings: Settings) -> DictConfig:
    """Return the configuration of a command with some settings."""
    return compose_config(command, overrides(settings))


def run_here(settings: Settings) -> L.Trainer:
    """Run bert-pretrain in this process; it must have something to train."""
    trainer = pretrain(compose_here("pretrain", settings))
    assert trainer is not None
    return trainer


def command(settings: Settings, launcher: Sequence[str] = ("-m",)) -> list[str]:
    """Return the command line of bert-pretrain; `launcher` starts the module."""
    return [sys.executable, *launcher, "bert_lightning.pretrain", *overrides(settings)]


def run_apart(settings: Settings, folder: Path, launcher: Sequence[str] = ("-m",)) -> subprocess.CompletedProcess[str]:
    """Run bert-pretrain in processes of its own, in a given folder."""
    _, _, module, *arguments = command(settings, launcher)
    return run_module(module, arguments, folder, checkout_environment(), timeout=240)


def assert_close(run_dir: Path, reference: Path, tolerance: float = 1e-5) -> None:
    """Two runs have the same rows of metrics up to a relative tolerance."""
    found, expected = (read_columns(folder / "metrics.csv") for folder in (run_dir, reference))
    losses = [name for name in expected if name.startswith("train/") and name.endswith("_loss")]
    assert losses
    for name in ("train/loss", *losses, "val/loss", "optim/grad_norm", "progress/tokens"):
        assert found[name][0] == expected[name][0], name
        assert found[name][1] == pytest.approx(expected[name][1], rel=tolerance), name


def repeatable(run_dir: Path) -> dict[int, dict[str, str]]:
    """Cells of metrics.csv, as text, but those that measure time and memory."""
    rows = read_rows(run_dir / "metrics.csv")
    return {
        step: {name: cell for name, cell in row.items() if not name.startswith(NOT_REPEATABLE)}
        for step, row in rows.items()
    }


def steps_made(run_dir: Path) -> int:
    """Return the steps of a run with `callbacks=audit`, which writes a digest a step."""
    digests = run_dir / "digests.txt"
    return len(digests.read_text().splitlines()) if digests.exists() else 0


def assert_same_end(run_dir: Path, reference: Path) -> None:
    """The run began after step 10, with its validation: its rows equal the last ones of the reference."""
    found, expected = (read_columns(folder / "metrics.csv") for folder in (run_dir, reference))
    assert found["train/loss"][0] == [12, 14]
    assert found["train/loss"][1] == pytest.approx(expected["train/loss"][1][-2:], rel=1e-5)
    assert found["val/loss"][1] == pytest.approx(expected["val/loss"][1][-2:], rel=1e-5)
    assert found["progress/tokens"][1] == expected["progress/tokens"][1][-2:]


def wandb_records(run_dir: Path) -> list[dict[str, Any]]:
    """Return what W&B has written for all parts of a run, the oldest part first, as its own reader shows it."""
    program = Path(sys.executable).with_name("wandb")
    lines = []
    for part in sorted((run_dir / "wandb").glob("offline-run-*/run-*.wandb")):
        command = [program, "leet", "inspect", "--json", part]
        lines += subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def wandb_config(run_dir: Path) -> dict[str, Any]:
    """Return the config of a run as W&B has it."""
    updates = [record["config"]["update"] for record in wandb_records(run_dir) if record["type"] == "config"]
    return {name: value for update in updates for name, value in update.items()}
