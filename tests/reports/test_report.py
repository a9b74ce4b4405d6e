"""The page stands alone and says what metrics.csv says."""

import re
from pathlib import Path

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.objective import Quantity
from bert_lightning.reports.report import write_report
from bert_lightning.reports.shown_quantities import shown_quantities, write_shown
from tests.support.parity import CONFIG

QUANTITIES = {
    "mlm_loss": Quantity("mlm", loss_weight=1.0, perplexity="word_perplexity", title="MLM loss", unit="nats"),
    "tag_f1": Quantity("tags", title="tags & F1", unit="share"),
    "silent_loss": Quantity("mlm"),
}


def write_run(folder: Path) -> None:
    for begin, end in ((1, 8), (5, 11)):  # interrupted and resumed
        logger = MetricsCsv(folder)
        for step in range(begin, end):
            logger.log_metrics({"train/loss": 10 / step, "train/mlm_loss": 9 / step, "optim/lr": 0.1 / step}, step * 10)
        held_out = {
            "val/mlm_loss": 4.321987,
            "val/word_perplexity": 75.34,
            "val/tag_f1": 0.6125,
            "val/silent_loss": 7.0,
        }
        logger.log_metrics(held_out | {"train/skipped_steps": 3}, end * 10 - 10)
    (folder / "config.yaml").write_text("run_name: <b>bold</b>\n")
    write_shown(folder / "quantities.json", QUANTITIES)


def test_the_page_stands_alone_and_has_the_figures(tmp_path: Path) -> None:
    write_run(tmp_path)
    text = write_report(tmp_path).read_text()
    assert text.startswith("<!doctype html>")
    assert not re.search(r'(src|href)="(?!#)', text.replace("xlink:href", "x"))
    assert text.count("<svg") == 4  # loss, MLM loss, tags, learning rate
    cards = dict(re.findall(r'<div class="card"><b>(.*?)</b><span>(.*?)</span>', text))
    assert {value: name for value, name in cards.items() if name.startswith("held-out")} == {
        "4.322": "held-out MLM loss",
        "75.3": "held-out word perplexity",
        "61.3%": "held-out tags &amp; F1",
    }
    assert "100 steps, 3 of them skipped" in text
    assert "&lt;b&gt;bold" in text
    assert "nan" not in text.lower().replace("finance", "")


def test_a_run_older_than_its_description_still_has_a_page(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "quantities.json").unlink()
    text = write_report(tmp_path).read_text()
    assert text.count("<svg") == 2  # loss, learning rate
    assert "<td>val/tag_f1</td><td>0.6125</td>" in text


@pytest.mark.parametrize("damaged", ["[", '[{"name": "mlm_loss", "title": 3, "unit": "nats"}]'])
def test_a_damaged_description_is_named(tmp_path: Path, damaged: str) -> None:
    write_run(tmp_path)
    (tmp_path / "quantities.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"quantities\.json "):
        write_report(tmp_path)


@pytest.mark.parametrize("objective", [MaskedLM, MaskedLMWithNSP, MaskedLMWithSOP])
def test_the_losses_and_accuracies_of_every_objective_are_shown(objective: type[MaskedLM]) -> None:
    shown = {each.name: (each.title, each.unit) for each in shown_quantities(objective(CONFIG).quantities)}
    pairs = {MaskedLM: [], MaskedLMWithNSP: ["nsp"], MaskedLMWithSOP: ["sop"]}[objective]
    expected = {"perplexity": ("perplexity", "")}
    for name in ["mlm", *pairs]:
        expected |= {f"{name}_loss": (f"{name.upper()} loss", "nats")}
        expected |= {f"{name}_accuracy": (f"{name.upper()} accuracy", "share")}
    assert shown == expected


def test_a_run_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no metrics.csv"):
        write_report(tmp_path)
