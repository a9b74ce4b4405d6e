"""A run that is killed, resumed offline and uploaded: W&B has every step once, and the settings, tables and summary."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_lightning.metrics.metrics_log import read_rows
from bert_lightning.metrics.wandb_files import wandb_parts, wandb_records
from bert_lightning.settings.run_folder import RunFolder
from tests.support.checkout import checkout_environment
from tests.support.runs import command, run_apart, steps_made
from tests.support.settings import Settings
from tests.support.wandb_server import wandb_server

NUM_STEPS = 100


def rows_of(parts: list[Path]) -> list[dict[str, object]]:
    """Return the rows in the files of W&B, in their order."""
    rows = []
    for part in parts:
        for record in wandb_records(part):
            items = record.history.item
            if items:
                rows.append({(item.key or item.nested_key[0]): json.loads(item.value_json) for item in items})
    return rows


@pytest.mark.slow
def test_a_killed_run_is_whole_in_w_and_b(base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = base | {"trainer.max_steps": NUM_STEPS, "trainer.val_check_interval": 20, "schedule": "constant"}
    settings |= {"trainer.log_every_n_steps": 2, "callbacks": "audit", "callbacks.checkpoint.every_n_steps": 20}
    settings |= {"logger": "wandb", "run_name": "a", "resume": "auto", "logger.wandb.tags": "[first,second]"}
    settings |= {"logger.wandb.checkpoints": "last"}
    folder = RunFolder(tmp_path / "runs" / "a")
    for moment in (30, 66):
        with subprocess.Popen(command(settings), cwd=tmp_path, env=checkout_environment()) as process:
            while steps_made(folder.path) < moment and process.poll() is None:
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
    assert run_apart(settings, tmp_path).returncode == 0

    parts = wandb_parts(folder.wandb, folder.wandb_run())
    assert len(parts) == 3
    rows, expected = rows_of(parts), read_rows(folder.metrics)
    assert [row["_step"] for row in rows] == sorted(expected) == list(range(2, NUM_STEPS + 1, 2))
    for row in rows:
        values = {name: float(cell) for name, cell in expected[row["_step"]].items() if name != "step"}
        assert {name: row[name] for name in values if not name.startswith("throughput/")} == pytest.approx(
            {name: value for name, value in values.items() if not name.startswith("throughput/")}
        )
        assert row["trainer/step"] == row["_step"]

    with wandb_server() as server:
        environment = os.environ | {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
        program = Path(sys.executable).with_name("wandb")
        folders = [part.parent for part in parts]
        done = subprocess.run([program, "sync", *folders], env=environment, capture_output=True, text=True, timeout=120)
        assert "ERROR" not in done.stderr, done.stderr
        uploaded = server.runs[folder.wandb_run()]
        assert [row["_step"] for row in uploaded.rows()] == sorted(expected)
        summary = json.loads(uploaded.summary)
        losses = {step: float(row["val/loss"]) for step, row in expected.items() if "val/loss" in row}
        assert summary["val/loss"] == losses[NUM_STEPS]
        assert summary["best/val/loss"] == min(losses.values())
        assert losses[summary["best_step/val/loss"]] == min(losses.values())
        assert summary["guesses"]["_type"] == "table-file"
        assert json.loads(uploaded.config)["optimizer"]["value"]["lr"] == 3e-3
        assert uploaded.values["tags"] == ["first", "second"]
        assert all(artifact.is_committed for artifact in server.artifacts.values())
        kinds = {identifier: each.values["artifactTypeName"] for identifier, each in server.artifacts.items()}
        assert set(kinds.values()) == {"model", "run_table"}
        (identifier,) = [identifier for identifier, kind in kinds.items() if kind == "model"]
        (last,) = folder.saved()[-1:]
        assert server.uploads[f"{identifier}/{last.name}"] == last.read_bytes()
