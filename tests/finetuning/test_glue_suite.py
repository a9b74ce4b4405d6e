"""task=glue trains what a folder has, averages as the paper does, and writes the files of the server."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from tokenizers import Tokenizer

from bert_lightning import finetune
from bert_lightning.finetuning.glue_suite import GLUE_METRICS, average, score_of, tasks_in
from bert_lightning.finetuning.glue_tasks import glue_task
from bert_lightning.finetuning.split_sources import SplitFiles
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.training.time_limit import beginning_of_launch
from data_pipeline.tasks.glue import GLUE_TASKS
from tests.finetuning.tiny_task import finetune_here, settings
from tests.support.checkout import ROOT

ENTAILMENT = ("entailment", "not_entailment")


def write(path: Path, rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def write_rte(folder: Path) -> None:
    header = ["index", "sentence1", "sentence2", "label"]
    for split, size in (("train", 24), ("dev", 9)):
        rows = [[row, "alpha beta", "gamma", ENTAILMENT[row % 2]] for row in range(size)]
        write(folder / "RTE" / f"{split}.tsv", [header, *rows])
    write(folder / "RTE" / "test.tsv", [header[:3], *([row, "alpha", "omega"] for row in range(4))])


def write_mnli(folder: Path) -> None:
    columns = list(GLUE_TASKS["mnli"].columns)
    labels = list(GLUE_TASKS["mnli"].classes)
    for name in ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched"):
        cut = 2 if name.startswith("test") else 0
        rows = [[row, *["x"] * 7, "alpha", "beta", *[labels[row % 3]] * 2] for row in range(12)]
        write(folder / "MNLI" / f"{name}.tsv", [row[: len(row) - cut] for row in [columns, *rows]])


def test_glue_trains_what_there_is_and_reports_starts_from_mnli_apart(tmp_path: Path, tokenizer: Tokenizer) -> None:
    given = settings(tmp_path, tokenizer) | {"task": "glue", "task.path": tmp_path / "glue", "epochs": 1}
    write_rte(tmp_path / "glue")
    write_mnli(tmp_path / "glue")
    finetune_here(given | {"task.mnli_first": True})
    run = tmp_path / "runs" / "run"
    content = json.loads((run / "glue.json").read_text())
    assert list(content["tasks"]) == ["mnli", "rte", "rte_from_mnli"]
    scores = {name: each["score"] for name, each in content["tasks"].items()}
    assert content["average"] == pytest.approx((scores["mnli"] + scores["rte"]) / 2)
    assert set(content["tasks"]["mnli"]["metrics"]) == {"validation/accuracy", "mismatched/accuracy"}
    assert "runs/run/mnli" in (run / "rte_from_mnli" / "seed-0" / "config.yaml").read_text()
    for name, size in (("mnli/MNLI-m.tsv", 12), ("mnli/MNLI-mm.tsv", 12), ("rte/RTE.tsv", 4)):
        lines = (run / name).read_text().splitlines()
        assert lines[0] == "index\tprediction"
        assert [line.split("\t")[0] for line in lines[1:]] == [str(row) for row in range(size)]
    assert {line.split("\t")[1] for line in lines[1:]} <= set(ENTAILMENT)


def test_tasks_wait_for_what_the_first_process_writes_and_share_the_time_of_a_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[Any] = []

    def train(cfg: DictConfig) -> dict[str, Any]:
        happened.append(f"{cfg.name} began at {beginning_of_launch(cfg.now):.0f}")
        return {}

    monkeypatch.setattr(finetune, "_finetune_task", train)
    monkeypatch.setattr(finetune, "gather_objects", lambda value: happened.append("all are there"))
    planned = {name: OmegaConf.create({"name": name, "now": now}) for name, now in (("mnli", 5), ("rte", 9))}
    monkeypatch.setattr(finetune, "_finetune_glue", lambda cfg: finetune._finetune_all(planned))
    finetune.finetune(OmegaConf.create({"variants": None, "task": {"tasks": ["mnli", "rte"]}}))
    assert happened == ["mnli began at 5", "all are there", "rte began at 5", "all are there"]


def test_predictions_for_the_server_are_in_the_terms_of_the_files(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [["sentence", "label"], ["alpha", 0], ["omega", 1]]
    for split in ("train", "dev"):
        write(tmp_path / "SST-2" / f"{split}.tsv", rows)
    write(tmp_path / "SST-2" / "test.tsv", [["index", "sentence"], [0, "beta"], [1, "gamma"]])
    task = glue_task("sst2", SplitFiles(tmp_path), ["accuracy"], "accuracy")
    splits = task.prepare(tokenizer, 16)
    values = np.array([[0.5, -1.0], [-1.0, 0.5]], dtype=np.float32)
    task.write_files(splits["test"], ExampleScores(values, np.arange(3)), tmp_path)
    assert (tmp_path / "SST-2.tsv").read_text() == "index\tprediction\n0\t0\n1\t1\n"
    assert not splits["test"].is_labeled
    assert [line["prediction"] for line in task.predictions(splits["test"], ExampleScores(values, np.arange(3)))] == [
        "negative",
        "positive",
    ]


@pytest.mark.parametrize(
    ("task", "metrics", "score"),
    [
        ("mnli", {"validation/accuracy": 0.8, "mismatched/accuracy": 0.4, "mismatched_test/accuracy": 0.0}, 0.6),
        ("cola", {"validation/matthews": 0.6, "validation/accuracy": 0.8}, 0.6),
        ("mrpc", {"validation/f1": 0.9, "validation/accuracy": 0.8, "test/f1": 0.1}, 0.85),
        ("stsb_from_mnli", {"validation/pearson": 0.9, "validation/spearman": 0.7}, 0.8),
    ],
)
def test_a_score_is_the_mean_of_the_metrics_that_glue_counts(
    task: str, metrics: dict[str, float], score: float
) -> None:
    assert score_of(task, {name: {"mean": value} for name, value in metrics.items()}) == pytest.approx(score)


def test_every_task_measures_the_metrics_that_glue_counts() -> None:
    for name, counted in GLUE_METRICS.items():
        assert set(counted) <= set(OmegaConf.load(ROOT / "conf" / "task" / f"{name}.yaml").metrics)


def test_the_average_leaves_out_wnli_and_starts_from_mnli() -> None:
    assert average({"rte": 0.5, "cola": 0.3, "wnli": 0.9, "rte_from_mnli": 0.9}) == pytest.approx(0.4)


def test_a_folder_without_files_of_glue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has the files of none of rte, cola"):
        tasks_in(tmp_path, ["rte", "cola"])
    with pytest.raises(ValueError, match=r"task\.tasks must be some of cola, .*; got squad"):
        tasks_in(tmp_path, ["squad"])
    write_rte(tmp_path)
    assert tasks_in(tmp_path, ["rte", "cola"]) == ["rte"]
