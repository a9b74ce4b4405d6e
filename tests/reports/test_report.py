"""The page stands alone and says what metrics.csv says."""

import json
import re
from pathlib import Path

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.objective import Quantity
from bert_lightning.profiling.step_profile import KINDS
from bert_lightning.reports.report import write_report
from bert_lightning.reports.shown_quantities import shown_quantities, write_shown
from bert_lightning.settings.run_about import About, Data, Source, write_about
from tests.reports.pages import EVIL, Page, assert_stands_alone
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
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert_stands_alone(page)
    assert len(page.charts) == 4  # loss, MLM loss, tags, learning rate
    assert "held-out, step 100: 61.3%" in page.said
    cards = dict(re.findall(r'<div class="card"><b>(.*?)</b><span>(.*?)</span>', text))
    assert {value: name for value, name in cards.items() if name.startswith("held-out")} == {
        "4.322": "held-out MLM loss",
        "75.3": "held-out word perplexity",
        "61.3%": "held-out tags &amp; F1",
    }
    assert "100 steps, 3 of them skipped" in page.words
    assert "<b>bold" in page.words
    assert "nan" not in (page.words + "".join(page.said)).lower()


def test_a_run_of_one_step_has_made_one_step(tmp_path: Path) -> None:
    MetricsCsv(tmp_path).log_metrics({"train/loss": 9.0}, 1)
    assert "1 step" in Page(write_report(tmp_path).read_text()).words.splitlines()


def test_a_run_older_than_its_description_still_has_a_page(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "quantities.json").unlink()
    page = Page(write_report(tmp_path).read_text())
    assert len(page.charts) == 2  # loss, learning rate
    assert ["val/tag_f1", "0.6125", "100"] in page.rows


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


def test_what_was_run_stands_beside_guessing_with_its_data_examples_and_profile(tmp_path: Path) -> None:
    write_run(tmp_path)
    health = [{"name": "unknown", "value": "7%", "advice": "another vocabulary"}]
    data = Data("data", "ab" * 32, [Source("wiki", "origin", "CC", 1234)], {"train": {"documents": 1200}}, health)
    about = About("bert-pretrain 'a=[1,2]'", {"commit": "abc123"}, data, {"mlm_loss": 6.0})
    write_about(tmp_path / "about.json", about)
    MetricsCsv(tmp_path).log_table("guesses", ["sentence", "truth"], [["a [MASK]", "cat"]], 100)
    profile = {"step_seconds": 0.5, "kinds": {"attention": {"forward": 0.25}}, "modules": {"encoder": 0.4}}
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "summary.json").write_text(json.dumps(profile))
    page = Page(write_report(tmp_path).read_text())
    assert_stands_alone(page)
    assert "bert-pretrain 'a=[1,2]'" in page.words
    by_loss = next(row for row in page.rows if row[0].startswith("MLM loss"))
    assert by_loss[1:] == ["4.322", "6.000", "1.678"]
    assert ["a [MASK]", "cat"] in page.rows
    assert ["commit", "abc123"] in page.rows
    assert ["encoder", "400.00"] in page.rows
    assert "attention, forward: 250.00 ms" in page.said
    assert "wiki: 1,234 documents; CC; origin" in page.words
    assert "What helps: another vocabulary" in page.words


def test_the_chart_of_a_profile_has_the_names_of_its_page_and_of_what_is_pointed_at(tmp_path: Path) -> None:
    write_run(tmp_path)
    kinds = [kind for kind, _ in KINDS]
    profile = {"step_seconds": 0.5, "kinds": {kind: {"forward": 0.25} for kind in kinds}, "modules": {"encoder": 0.4}}
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "summary.json").write_text(json.dumps(profile))
    text = write_report(tmp_path).read_text()
    drawn = next(chart for chart in Page(text).charts if f"{kinds[0]}, forward: 250.00 ms" in json.dumps(chart))
    assert [kind for kind in kinds if f'"{kind}"' not in json.dumps(drawn)] == []
    assert ["module", "milliseconds a step"] in Page(text).rows


def test_a_sentence_stands_once_above_all_its_masks(tmp_path: Path) -> None:
    write_run(tmp_path)
    rows = [["number", "in [MASK 2] a [MASK 1]", "2", "1900"], ["word", "b [MASK 1]", "1", "cat"]]
    rows += [["word", "in [MASK 2] a [MASK 1]", "1", "dog"]]
    MetricsCsv(tmp_path).log_table("guesses", ["kind", "sentence", "mask", "truth"], rows, 100)
    shown = Page(write_report(tmp_path).read_text()).rows
    first = shown.index(["in [MASK 2] a [MASK 1]", "number", "2", "1900"])
    assert shown[first + 1 : first + 3] == [["", "word", "1", "dog"], ["b [MASK 1]", "word", "1", "cat"]]


def test_last_values_can_be_read(tmp_path: Path) -> None:
    write_run(tmp_path)
    MetricsCsv(tmp_path).log_metrics({"progress/tokens": 3657290.0, "optim/lr": 0.00002}, 200)
    shown = Page(write_report(tmp_path).read_text()).rows
    assert ["progress/tokens", "3,657,290", "200"] in shown
    assert ["optim/lr", "0.00002", "200"] in shown


def test_nothing_that_a_run_says_acts(tmp_path: Path) -> None:
    """Neither names nor texts become elements, and control characters are spelled out."""
    run = tmp_path / EVIL.replace("/", "")
    run.mkdir()
    write_run(run)
    (run / "config.yaml").write_text(f"run_name: {EVIL}\x1b[2J\n")
    write_shown(run / "quantities.json", {"mlm_loss": Quantity("mlm", title=EVIL, unit="nats")})
    source = Source(EVIL, EVIL, EVIL, 1)
    about = About(
        EVIL, {EVIL: EVIL}, Data(EVIL, EVIL, [source], {EVIL: {}}, [dict.fromkeys(("name", "value", "advice"), EVIL)])
    )
    write_about(run / "about.json", about)
    MetricsCsv(run).log_table("guesses", [EVIL], [[EVIL]], 100)
    (run / "errors.json").write_text(json.dumps({"labels": [EVIL], "confusion": [[1]], "worst": [{"text": EVIL}]}))
    page = Page(write_report(run).read_text())
    assert_stands_alone(page)
    assert page.words.count(EVIL) > 15
    assert "\x1b" not in page.words
    assert "\\x1b[2J" in page.words


def test_guessing_by_the_larger_class_needs_no_more_than_the_metrics(tmp_path: Path) -> None:
    logger = MetricsCsv(tmp_path)
    logger.log_metrics({"val/nsp_accuracy": 0.75, "val/nsp_loss": 0.5, "val/random_next": 0.4}, 10)
    write_shown(tmp_path / "quantities.json", MaskedLMWithNSP(CONFIG).quantities)
    rows = {row[0].split("guessing")[0]: row[1:] for row in Page(write_report(tmp_path).read_text()).rows}
    assert rows["NSP accuracy"] == ["75.0%", "60.0%", "15.0%"]
    assert rows["NSP loss"] == ["0.500", "0.673", "0.173"]


def test_a_damaged_description_of_the_run_is_named(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "about.json").write_text('{"environment": 3}')
    with pytest.raises(ValueError, match=r"about\.json has environment=3"):
        write_report(tmp_path)


def test_a_long_curve_is_thinned_and_keeps_its_spike(tmp_path: Path) -> None:
    lines = ["step,train/loss", *(f"{step},{9.0 if step == 3456 else 1.0}" for step in range(1, 5001))]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    said = Page(write_report(tmp_path).read_text()).said
    assert len(said) <= 500
    assert "training, step 3,456: 9.000 nats" in said
    assert "training, step 5,000: 1.000 nats" in said
