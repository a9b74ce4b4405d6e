"""Metrics over resamples against the metrics of fine-tuning, scikit-learn and scipy on the rows that were drawn."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as entity_f1
from seqeval.metrics import precision_score, recall_score
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, mean_squared_error

from bert_lightning.comparisons.kept_predictions import Lines
from bert_lightning.comparisons.resampled_metrics import resampled_metrics
from bert_lightning.finetuning.squad_metrics import metrics_v1, metrics_v2, score_spans, score_v1
from bert_lightning.finetuning.text_metrics import exact_match, macro_f1, macro_f1_of_sets, micro_f1_of_sets
from data_pipeline.tasks.task_records import Answer, Question

SIZE = 40
DRAW = np.random.default_rng(0)
Reference = Callable[[Lines], dict[str, float]]


def classes(names: list[str]) -> Lines:
    """Predictions that are right more often than not."""
    lines = []
    for row in range(SIZE):
        scores = DRAW.normal(size=len(names))
        label = names[int(DRAW.integers(len(names)))]
        scores[names.index(label)] += 1
        said = names[int(scores.argmax())]
        lines.append({"id": str(row), "prediction": said, "label": label, "scores": scores.tolist()})
    return lines


def of_classes(names: list[str]) -> Reference:
    def metrics(lines: Lines) -> dict[str, float]:
        wanted, said = ([names.index(line[key]) for line in lines] for key in ("label", "prediction"))
        values = {
            "accuracy": accuracy_score(wanted, said),
            "macro_f1": macro_f1(torch.tensor(said), torch.tensor(wanted)),
            "matthews": matthews_corrcoef(wanted, said),
        }
        return values | ({"f1": f1_score(wanted, said)} if len(names) == 2 else {})

    return metrics


def sets() -> Lines:
    lines = []
    for row in range(SIZE):
        label, scores = DRAW.random(3) < 0.4, DRAW.normal(size=3)
        named = [[name for name, is_in in zip("abc", each, strict=True) if is_in] for each in (label, scores > 0)]
        lines.append({"id": str(row), "label": named[0], "prediction": named[1], "scores": scores.tolist()})
    return lines


def of_sets(lines: Lines) -> dict[str, float]:
    wanted, said = (
        torch.tensor([[int(name in line[key]) for name in "abc"] for line in lines]) for key in ("label", "prediction")
    )
    return {
        "exact_match": exact_match(said, wanted),
        "micro_f1": micro_f1_of_sets(said, wanted),
        "macro_f1": macro_f1_of_sets(said, wanted),
    }


def numbers() -> Lines:
    """Numbers with ties."""
    label = DRAW.integers(0, 6, SIZE) / 2
    said = (label + DRAW.normal(size=SIZE)).round(1)
    return [
        {"id": str(row), "label": float(label[row]), "prediction": float(said[row]), "scores": [float(said[row])]}
        for row in range(SIZE)
    ]


def of_numbers(lines: Lines) -> dict[str, float]:
    wanted, said = ([line[key] for line in lines] for key in ("label", "prediction"))
    return {
        "pearson": pearsonr(wanted, said).statistic,
        "spearman": spearmanr(wanted, said).statistic,
        "squared_error": mean_squared_error(wanted, said),
    }


def tags() -> Lines:
    names = ["O", "B-PER", "I-PER", "B-LOC"]
    lines = []
    for row in range(SIZE):
        right = [names[number] for number in DRAW.integers(4, size=int(DRAW.integers(1, 7)))]
        said = [tag if DRAW.random() < 0.7 else "O" for tag in right]
        lines.append({"id": str(row), "words": right, "label": right, "prediction": said, "scores": []})
    return lines


def of_tags(lines: Lines) -> dict[str, float]:
    right, said = ([line[key] for line in lines] for key in ("label", "prediction"))
    return {
        "accuracy": accuracy_score(list(chain(*right)), list(chain(*said))),
        "f1": entity_f1(right, said),
        "precision": precision_score(right, said),
        "recall": recall_score(right, said),
    }


def choices() -> Lines:
    rows = DRAW.integers(4, size=(SIZE, 2)).tolist()
    return [{"id": str(row), "label": one, "prediction": other, "scores": []} for row, (one, other) in enumerate(rows)]


def of_choices(lines: Lines) -> dict[str, float]:
    return {"accuracy": accuracy_score([line["label"] for line in lines], [line["prediction"] for line in lines])}


def answers(may_be_none: bool) -> Lines:
    """Questions with ties of null odds, of which every third has no answer if that may be."""
    lines = []
    for row in range(SIZE):
        span = ["the old king", "a king", "river", "the"][int(DRAW.integers(4))]
        label = [] if may_be_none and row % 3 == 0 else ["old king", "the river"][: 1 + row % 2]
        odds = float(DRAW.integers(-3, 4))
        said = "" if may_be_none and odds > 1 else span
        measured = score_spans([label], [said]) if may_be_none else score_v1([question(label)], [said])
        line = {"id": str(row), "prediction": said, "label": label, "scores": [0.0, 0.0]}
        line |= {"exact_match": measured.exact[0].item(), "f1": measured.f1[0].item()}
        lines.append(line | ({"null_odds": odds, "best_span": span} if may_be_none else {}))
    return lines


def question(label: list[str]) -> Question:
    return Question("", "", "", tuple(Answer(text, 0) for text in label), not label, "")


def of_answers(lines: Lines) -> dict[str, float]:
    return metrics_v1(score_v1([question(line["label"]) for line in lines], [line["prediction"] for line in lines]))


def of_answers_or_none(lines: Lines) -> dict[str, float]:
    scores = score_spans([line["label"] for line in lines], [line["best_span"] for line in lines])
    metrics = metrics_v2(scores, np.array([line["null_odds"] for line in lines]), threshold=1.0)
    return {name: value for name, value in metrics.items() if not name.endswith("threshold")}


KINDS: dict[str, tuple[Lines, Reference]] = {
    "two classes": (classes(["no", "but"]), of_classes(["no", "but"])),
    "four classes": (classes(list("abcd")), of_classes(list("abcd"))),
    "sets": (sets(), of_sets),
    "numbers": (numbers(), of_numbers),
    "tags": (tags(), of_tags),
    "choices": (choices(), of_choices),
    "answers": (answers(may_be_none=False), of_answers),
    "answers or none": (answers(may_be_none=True), of_answers_or_none),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_rows_that_were_drawn(kind: str) -> None:
    lines, reference = KINDS[kind]
    drawn = [np.arange(SIZE), *np.random.default_rng(1).integers(SIZE, size=(20, SIZE))]
    counts = np.array([np.bincount(rows, minlength=SIZE) for rows in drawn], dtype=np.float64)
    found = resampled_metrics(lines, "x")(counts)
    for number, rows in enumerate(drawn):
        expected = reference([lines[row] for row in rows])
        assert {name: found[name][number] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_a_class_that_is_never_predicted_has_its_f1() -> None:
    """Which of two classes is the second one follows from the scores, whatever is predicted."""
    for best, f1 in ((0, 0.0), (1, 2 / 3)):
        scores = [float(best == 0), float(best == 1)]
        said = ("zero", "one")[best]
        lines = [{"id": "0", "label": name, "prediction": said, "scores": scores} for name in ("zero", "one")]
        assert resampled_metrics(lines, "x")(np.ones((1, 2)))["f1"].tolist() == pytest.approx([f1])


@pytest.mark.parametrize("line", [{"label": None}, {"label": "a", "prediction": 3}, {"label": 3, "words": []}, {}])
def test_lines_of_something_else_are_an_error(line: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"x\.jsonl holds no predictions of bert-finetune, such as"):
        resampled_metrics([line], "x.jsonl")
