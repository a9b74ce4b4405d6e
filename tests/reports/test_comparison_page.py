"""Several runs over each other: their last values, what differs between them, and their curves by steps and tokens."""

from pathlib import Path

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.objectives.objective import Quantity
from bert_lightning.report_runs import report
from bert_lightning.reports.shown_quantities import write_shown
from tests.reports.pages import EVIL, Page, assert_stands_alone

NAME = EVIL.replace("/", "")


def write_run(folder: Path, lr: float, tokens_a_step: int) -> Path:
    logger = MetricsCsv(folder)
    for step in (10, 20):
        logger.log_metrics({"train/loss": 9.0, "progress/tokens": tokens_a_step * step}, step)
    logger.log_metrics({"val/mlm_loss": 7 + lr}, 15)
    logger.log_metrics({"val/mlm_loss": 6 + lr}, 20)
    write_shown(folder / "quantities.json", {"mlm_loss": Quantity("mlm", title="MLM loss", unit="nats")})
    (folder / "config.yaml").write_text(f"optimizer: {{lr: {lr}}}\nseed: 0\nrun_name: {lr}\n")
    return folder


def test_runs_lie_over_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write_run(tmp_path / "a", 0.5, 100), write_run(tmp_path / "deep" / NAME, 0.25, 300)]
    report([str(folder) for folder in folders])
    printed = capsys.readouterr().out.split("\n")[:3]
    assert printed == [*(str(folder / "report.html") for folder in folders), str(tmp_path / "comparison.html")]
    page = Page((tmp_path / "comparison.html").read_text())
    assert_stands_alone(page)
    assert [row[:2] for row in page.rows if row[0] in ("a", f"deep/{NAME}")] == [
        ["a", "6.500"],
        [f"deep/{NAME}", "6.250"],
    ]
    assert [row for row in page.rows if row[0] in ("optimizer.lr", "seed", "run_name")] == [
        ["optimizer.lr", "0.5", "0.25"]
    ]
    assert "a, step 20: 6.500 nats" in page.said
    assert f"deep/{NAME}, tokens 6,000: 6.250 nats" in page.said


def test_one_run_has_no_comparison_and_other_folders_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", 0.5, 100)
    with pytest.raises(ValueError, match=r"--output=x\.html is for the comparison of several runs; got 1"):
        report([str(run), "--output", "x.html"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty is no run, search, ablation or fine-tuning"):
        report([str(run), str(tmp_path / "empty")])
    assert not (run / "report.html").exists()
    report([str(run), str(write_run(tmp_path / "b", 0.25, 100)), "--output", str(tmp_path / "pages" / "x.html")])
    assert (tmp_path / "pages" / "x.html").exists()
    assert not (tmp_path / "comparison.html").exists()


def test_what_is_damaged_is_named_before_any_page_is_written(tmp_path: Path) -> None:
    good, bad = write_run(tmp_path / "a", 0.5, 100), write_run(tmp_path / "b", 0.5, 100)
    metrics = (bad / "metrics.csv").read_text()

    def refused(*words: str) -> str:
        with pytest.raises(ValueError, match=r"\S") as raised:
            report([str(good), str(bad), *words])
        assert not list(tmp_path.rglob("*.html")) + list(tmp_path.glob(".*"))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert refused(f"--output={tmp_path}") == (
        f"--output={tmp_path} is a folder; give a file, such as {tmp_path / 'comparison.html'}"
    )
    (bad / "metrics.csv").write_text("step,train/loss\n")
    assert "has no metrics.csv with values" in refused()
    (bad / "metrics.csv").write_text(metrics.replace("9.0", "nine", 1))
    assert refused() == f"{bad / 'metrics.csv'}, step 10: train/loss must be a number; got nine"
    (bad / "metrics.csv").write_text(metrics)
    (bad / "config.yaml").write_text("a: {b: 1")
    assert refused().startswith(f"{bad / 'config.yaml'} cannot be read as YAML: ")
