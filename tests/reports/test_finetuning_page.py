"""The page about a fine-tuning has what all seeds, variants or tasks have reached."""

import json
from pathlib import Path
from typing import Any

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.reports.finetuning_page import is_finetuning, write_finetuning_report
from bert_lightning.reports.guessing import larger_class
from bert_lightning.settings.finetuned_folder import FinetunedFolder
from tests.reports.pages import EVIL, Page, assert_stands_alone


def metric(*values: float) -> dict[str, Any]:
    spread = 0.01 if len(values) > 1 else None
    of_seeds = {str(seed): value for seed, value in enumerate(values)}
    return {"mean": sum(values) / len(values), "standard_deviation": spread, "values": of_seeds, "examples": 1200}


def write_task(folder: Path, name: str = "colors", **more: Any) -> None:
    for seed in (0, 1):
        run = folder / f"seed-{seed}"
        run.mkdir(parents=True)
        MetricsCsv(run).log_metrics({"val/accuracy": 0.5 + seed / 10, "val/loss": 0.7, "train/loss": 0.8}, 10)
    labels = ["red"] * 3 + ["blue"]
    lines = [{"id": str(row), "text": f"t{row}", "prediction": "red", "label": each} for row, each in enumerate(labels)]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = {
        "task": name,
        "chosen_by": "validation/accuracy",
        "best_seed": 1,
        "checkpoint": "seed-1/checkpoints/step-0000010.ckpt",
        "metrics": {"validation/accuracy": metric(0.5, 0.6)},
    }
    (folder / "scores.json").write_text(json.dumps(scores | more))


def test_the_seeds_of_a_task_stand_beside_the_larger_class(tmp_path: Path) -> None:
    write_task(tmp_path, grid={"lr-1": 0.55, EVIL: 0.4}, winner="lr-1")
    assert is_finetuning(tmp_path)
    page = Page(write_finetuning_report(tmp_path).read_text())
    assert_stands_alone(page)
    assert ["validation/accuracy", "0.5500", "0.0100", "0.5000", "0.6000", "1,200"] in page.rows
    assert [row for row in page.rows if row[0] in ("lr-1", EVIL)] == [["lr-1", "0.5500", "best"], [EVIL, "0.4000", ""]]
    assert "Guessing always red is right in 75.0% of the validation labels." in page.words
    assert ["t0", "red", "red", "0"] in page.rows
    assert "seed 1, step 10: 0.6" in page.said


ANSWERS = {"label": ["red", "the red one"], "exact_match": 1.0, "f1": 1.0}


@pytest.mark.parametrize("more", [ANSWERS, {"label": 0.5}, {"label": 1}, {}], ids=str)
def test_answers_and_numbers_have_no_larger_class(tmp_path: Path, more: dict[str, Any]) -> None:
    write_task(tmp_path)
    lines = [json.dumps({"id": str(row), "prediction": "red"} | more) for row in range(3)]
    (tmp_path / "predictions.jsonl").write_text("\n".join(lines))
    assert larger_class(FinetunedFolder(tmp_path)) == ""
    assert "Guessing" not in Page(write_finetuning_report(tmp_path).read_text()).words


def test_variants_and_tasks_have_a_row_for_each_metric(tmp_path: Path) -> None:
    results = {"frozen": {"validation/f1": metric(0.25)}, EVIL: {"validation/f1": metric(0.5, 0.75)}}
    (tmp_path / "variants.json").write_text(json.dumps({"variants": results}))
    page = Page(write_finetuning_report(tmp_path).read_text())
    assert_stands_alone(page)
    assert ["frozen", "validation/f1", "0.2500", "1,200"] in page.rows
    assert [EVIL, "validation/f1", "0.6250 ± 0.0100", "1,200"] in page.rows
    assert f"{EVIL}: 0.6250 ± 0.0100" in page.said
    assert "2 variants" in page.words
    tasks = {"rte": {"score": 0.25, "metrics": {"validation/f1": metric(0.25)}}}
    (tmp_path / "glue.json").write_text(json.dumps({"average": 0.25, "tasks": tasks}))
    page = Page(write_finetuning_report(tmp_path).read_text())
    assert ["rte", "validation/f1", "0.2500", "1,200"] in page.rows
    assert "1 task" in page.words.splitlines()
    assert "25.0average of the tasks" in page.words.replace("\n", "")


def test_a_seed_is_no_fine_tuning_and_damage_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"seed": 0}')
    assert not is_finetuning(tmp_path)
    write_task(tmp_path / "a", metrics={"validation/accuracy": {"mean": "high"}})
    with pytest.raises(ValueError, match=r"scores\.json"):
        write_finetuning_report(tmp_path / "a")
