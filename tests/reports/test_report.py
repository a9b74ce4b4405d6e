"""The page stands alone and says what metrics.csv says."""

import re
from pathlib import Path

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.reports.report import write_report


def write_run(folder: Path) -> None:
    for begin, end in ((1, 8), (5, 11)):  # interrupted and resumed
        logger = MetricsCsv(folder)
        for step in range(begin, end):
            logger.log_metrics({"train/loss": 10 / step, "train/mlm_loss": 9 / step, "optim/lr": 0.1 / step}, step * 10)
        logger.log_metrics(
            {"val/mlm_loss": 4.321987, "val/nsp_accuracy": 0.6125, "train/skipped_steps": 3}, end * 10 - 10
        )
    (folder / "config.yaml").write_text("run_name: <b>bold</b>\n")


def test_the_page_stands_alone_and_has_the_figures(tmp_path: Path) -> None:
    write_run(tmp_path)
    text = write_report(tmp_path).read_text()
    assert text.startswith("<!doctype html>")
    assert not re.search(r'(src|href)="(?!#)', text.replace("xlink:href", "x"))
    assert text.count("<svg") == 4
    assert "4.322" in text
    assert "61.2%" in text or "61.3%" in text
    assert "100 steps, 3 of them skipped" in text
    assert "&lt;b&gt;bold" in text
    assert "nan" not in text.lower().replace("finance", "")


def test_a_run_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no metrics.csv"):
        write_report(tmp_path)
