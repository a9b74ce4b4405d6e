"""The page about an ablation: the table, every seed, the curves of the variants, what is missing, how it goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.report_runs import report
from bert_lightning.sweeps.ablation_table import RunRow, ablation_content
from tests.reports.pages import EVIL, Page, assert_stands_alone

LINE = "bert-pretrain --multirun hydra/sweeper=ablation 'run_name=a b'"
SST2 = "sst2/validation/accuracy"


def row(folder: Path, variant: str, seed: int, status: str, loss: float | None) -> RunRow:
    """A run that has trained, and was measured if it has a loss."""
    run_dir = folder / variant / f"seed-{seed}"
    logger = MetricsCsv(run_dir)
    for step in (10, 20):
        logger.log_metrics({"train/loss": 9.0, "val/mlm_loss": 7.0 + seed / step}, step)
    metrics = {"held_out/mlm_loss": loss, "held_out/mlm_accuracy": 0.25, "held_out/examples": 9.0, SST2: 0.75}
    return RunRow(variant, seed, str(run_dir), status, 20, 1000, 60.0, 0, {} if loss is None else metrics)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of an ablation of two variants that lacks a run."""
    folder = tmp_path / "masks"
    rows = [row(folder, "few", 0, "finished", 5.0), row(folder, "few", 1, "was finished", 5.2)]
    rows += [row(folder, "many", 0, "finished", 4.5), row(folder, "many", 1, f"failed: {EVIL}", None)]
    variants: dict[str, dict[str, Any]] = {"few": {}, "many": {"masking.mask_prob": 0.4, "~a": "", "b": EVIL}}
    content = ablation_content(EVIL, LINE, variants, rows, {}, [SST2])
    (folder / "ablation.json").write_text(json.dumps(content))
    return folder


def test_the_page_has_the_table_every_seed_the_curves_and_the_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report([str(folder)])
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    page = Page((folder / "report.html").read_text())
    assert_stands_alone(page)
    assert "2 variants, 2 seeds, 4 runs: 3 finished, 1 failed" in page.words
    assert page.rows[0][-3:] == ["MLM accuracy", "difference", "sst2 accuracy"]
    assert [row[0] for row in page.rows[1:3]] == ["few", "many"]
    assert "5.100 ± 0.141" in page.rows[1]
    assert "-0.500" in page.rows[2]
    assert ["many", "1", f"failed: {EVIL}", str(folder / "many" / "seed-1")] in page.rows
    assert LINE in page.words
    assert {"few, seed 1: 5.2", "few, mean of 2 seeds: 5.1", "many, seed 0: 4.5", "many, seed 0: 0.75"} <= set(
        page.said
    )
    assert "many, seed 1, step 20: 7.050 nats" in page.said
    assert ["many", f"masking.mask_prob=0.4, ~a, b={EVIL}"] in page.rows
    assert len(page.charts) == 5


def test_an_ablation_that_has_measured_nothing_has_a_page_and_so_has_one_of_an_earlier_version(folder: Path) -> None:
    content = json.loads((folder / "ablation.json").read_text())
    for name in ("chosen", "command"):
        del content[name]
    for reached in content["variants"].values():
        reached |= {"metrics": {}, "differences": {}}
    (folder / "ablation.json").write_text(json.dumps(content))
    report([str(folder)])
    page = Page((folder / "report.html").read_text())
    assert_stands_alone(page)
    assert "4 runs: 3 finished" not in page.words
    assert len(page.charts) == 2


def test_a_damaged_table_is_named(folder: Path) -> None:
    (folder / "ablation.json").write_text('{"name": "masks", "variants": {"few": {}}}')
    with pytest.raises(ValueError, match=r"ablation.json is damaged: KeyError: 'metrics'"):
        report([str(folder)])
    assert not (folder / "report.html").exists()
