"""bert-dashboard: its panels show what runs log, W&B gets the view, and what keeps it from that is one line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from bert_lightning.dashboard import dashboard
from bert_lightning.metrics.metrics_log import read_columns
from tests.support.configs import compose_config
from tests.support.runs import run_here
from tests.support.settings import Settings
from tests.support.wandb_server import ENTITY, wandb_server

TABLES = {"guesses", "pairs"}
SETTINGS = {"optimizer.lr", "schedule.warmup_steps", "data.global_batch_size"}


def composed(*overrides: str) -> DictConfig:
    pytest.importorskip("wandb_workspaces")
    return compose_config("dashboard", ["project=tests", *overrides])


def panels_of(view: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for section in view["section"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            yield panel | {"section": section["name"]}


def view_in(folder: Path, *overrides: str) -> dict[str, Any]:
    file = folder / "view.json"
    assert dashboard(composed(f"output={file}", *overrides)) == str(file)
    return json.loads(file.read_text())


def test_every_panel_shows_what_a_run_logs(base: Settings, tmp_path: Path) -> None:
    view = view_in(tmp_path)
    run_here(base | {"run_name": "a", "callbacks.gradient_norms.every_n_steps": 3})
    logged = {*read_columns(tmp_path / "runs" / "a" / "metrics.csv"), "trainer/step"}
    shown, lines = set(), 0
    for panel in panels_of(view):
        config = panel.get("config", {})
        if panel["viewType"] == "Run History Line Plot":
            lines += 1
            names = {config["xAxis"], *config.get("metrics", [])}
            assert names <= logged, panel
            shown |= names
            if regex := config.get("metricRegex"):
                assert [name for name in logged if re.fullmatch(regex, name)], panel
            else:
                assert config.get("metrics"), panel
    assert lines == 18
    assert {"progress/tokens", "val/loss", "throughput/mfu", "optim/grad_norm", "throughput/data_wait"} <= shown


def test_sweeps_and_examples_have_panels(tmp_path: Path) -> None:
    panels = list(panels_of(view_in(tmp_path, "metric=val/mlm_loss")))
    (lines,) = [panel for panel in panels if panel["viewType"] == "Parallel Coordinates Plot"]
    named = [column["accessor"] for column in lines["config"]["columns"]]
    assert named == [
        "config:optimizer.value.lr",
        "config:schedule.value.warmup_steps",
        "config:data.value.global_batch_size",
        "summary:val/mlm_loss",
    ]
    (importance,) = [panel for panel in panels if panel["viewType"] == "Parameter Importance"]
    assert importance["config"]["targetKey"] == "val/mlm_loss"
    examples = json.dumps([panel for panel in panels if panel["section"] == "Examples"])
    assert all(f'"{name}"' in examples for name in TABLES)
    assert {panel["section"] for panel in panels} == {
        "Learning",
        "Throughput",
        "Data",
        "Gradients",
        "Examples",
        "Sweeps",
    }


def test_the_view_is_saved_and_replaced_by_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = view_in(tmp_path)
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        address = dashboard(composed("name=first"))
        ((name, saved),) = server.views.items()
        assert address == f"{server.address}/{ENTITY}/tests?nw={name.removeprefix('nw-').removesuffix('-v')}"
        assert (saved["entityName"], saved["projectName"], saved["displayName"]) == (ENTITY, "tests", "first")
        spec = json.loads(saved["spec"])
        kinds = [panel["viewType"] for panel in panels_of(spec)]
        assert kinds == [panel["viewType"] for panel in panels_of(expected)]
        assert dashboard(composed("name=second", f"url='{address}'")) == address
        assert [view["displayName"] for view in server.views.values()] == ["second"]


def test_what_keeps_w_and_b_from_saving_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ValueError, match="bert-dashboard needs an account of W&B: run `wandb login`"):
        dashboard(composed())
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:9 does not answer"):
        dashboard(composed())
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        with pytest.raises(ValueError, match=r"does not take the workspace: .*not found"):
            dashboard(composed(f"url='{server.address}/{ENTITY}/tests?nw=unknown'"))
