"""SQuAD as a task: predictions of the exported model in transformers, the threshold found on dev, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.finetuning.task import TRAIN, VALIDATION
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.finetuning.scored import Scored, make_task, score
from tests.support.models import GPT2

CONTEXT = "In 1191 Duke Berthold of Zähringen founded the city. It lies on a river, the Aare, and is old. " * 2
QUESTIONS = ["When was it founded?", "Who founded the city?", "What river is it on?", "Is it old?"]
ANSWERS = ["1191", "Duke Berthold", "the Aare", "is old"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([CONTEXT, *QUESTIONS] * 3, vocab_size=300)


def entry(number: int, is_impossible: bool = False) -> dict[str, Any]:
    answer = {"text": ANSWERS[number % 4], "answer_start": CONTEXT.index(ANSWERS[number % 4])}
    fields = {"id": f"q{number}", "question": QUESTIONS[number % 4], "answers": [] if is_impossible else [answer]}
    return fields | ({"is_impossible": True} if is_impossible else {})


def write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": entries}]}]}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve questions to train on, eight to validate on, every third of them impossible in the files of 2.0."""
    (tmp_path / "v1").mkdir()
    (tmp_path / "v2").mkdir()
    for name, first, last in (("train", 0, 12), ("dev", 12, 20)):
        write(tmp_path / "v1" / f"{name}-v1.1.json", *(entry(n) for n in range(first, last)))
        write(tmp_path / "v2" / f"{name}-v2.0.json", *(entry(n, n % 3 == 0) for n in range(first, last)))
    return tmp_path


@pytest.mark.parametrize("sizes", [{}, GPT2], ids=["BERT", "GPT-2"])
def test_the_exported_model_gives_the_same_predictions_in_transformers(
    folder: Path, tokenizer: Tokenizer, sizes: dict[str, Any]
) -> None:
    """Its begin and end scores are taken window by window, as the pipeline of transformers would."""
    task = make_task("squad", folder / "v1", doc_stride=8, max_query_length=8)
    scored = score(task, tokenizer, export=folder / "hf", sizes=sizes)
    theirs = AutoModelForQuestionAnswering.from_pretrained(folder / "hf").eval()
    assert load_pretrained(folder / "hf").head == task.head()
    fast = AutoTokenizer.from_pretrained(folder / "hf")
    values = []
    with torch.no_grad():
        for question in scored.split.records:
            inputs = fast(
                question.question,
                question.context,
                max_length=48,
                stride=48 - 3 - len(fast(question.question, add_special_tokens=False)["input_ids"]) - 8,
                truncation="only_second",
                return_overflowing_tokens=True,
                return_tensors=None,
            )
            for row, ids in enumerate(inputs["input_ids"]):
                segments = {} if sizes else {"token_type_ids": torch.tensor([inputs["token_type_ids"][row]])}
                out = theirs(torch.tensor([ids]), **segments)
                values.append(torch.stack([out.start_logits[0], out.end_logits[0]], dim=-1))
    expected = torch.cat(values).numpy()
    assert len(values) >= 2 * len(scored.split.records)
    np.testing.assert_allclose(scored.scores.values, expected, atol=1e-5)
    assert scored.predictions == pytest_approx_lines(scored.with_scores(expected).predictions)


def pytest_approx_lines(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line | {"scores": pytest.approx(line["scores"], abs=1e-4)} for line in lines]


def with_right_answers(scored: Scored, null: float = 0.0) -> Scored:
    """Scores that are 5 at the labels of every window, and `null` at [CLS] of all windows."""
    values = np.zeros_like(scored.scores.values)
    begins = scored.split.encoded.cu_seqlens[:-1]
    values[begins] = null
    for column, name in enumerate(("start", "end")):
        labels = scored.split.encoded.targets[name].labels
        values[begins[labels > 0] + labels[labels > 0], column] = 5.0
    return scored.with_scores(values)


def test_right_spans_are_right_answers(folder: Path, tokenizer: Tokenizer) -> None:
    scored = with_right_answers(score(make_task("squad", folder / "v1", doc_stride=8), tokenizer, seq_len=96))
    assert scored.metrics == {"exact_match": 1.0, "f1": 1.0}
    assert [line["prediction"] for line in scored.predictions] == ANSWERS * 2
    assert scored.predictions[0]["label"] == ["1191"]
    assert (scored.predictions[0]["exact_match"], scored.predictions[0]["f1"]) == (1, 1)


def test_the_threshold_is_found_on_validation_and_used_for_predictions(folder: Path, tokenizer: Tokenizer) -> None:
    """[CLS] has 12 and right spans have 10: with the threshold 0 nothing is answered, with that of dev all is right."""
    settings: dict[str, Any] = {"doc_stride": 8}
    scored = with_right_answers(score(make_task("squad_v2", folder / "v2", **settings), tokenizer, 96), null=6.0)
    metrics = scored.metrics
    assert (metrics["f1"], metrics["best_f1"], metrics["exact_match"]) == (1, 1, 1)
    assert metrics["best_f1_threshold"] == 2.0
    predictions = [line["prediction"] for line in scored.predictions]
    assert predictions == ["" if n % 3 == 0 else ANSWERS[n % 4] for n in range(12, 20)]
    given = make_task("squad_v2", folder / "v2", null_score_diff_threshold=0.0, **settings)
    fixed = with_right_answers(score(given, tokenizer, 96), null=6.0)
    assert fixed.metrics["has_answer_f1"] == 0
    assert fixed.metrics["best_f1"] == 1
    assert {line["prediction"] for line in fixed.predictions} == {""}


def test_lines_have_the_values_of_the_metrics_if_an_answer_is_an_article(folder: Path, tokenizer: Tokenizer) -> None:
    """Its words are gone once it is normalized, and then no answer would be as good as it."""
    article = {"text": "the", "answer_start": CONTEXT.index("the ")}
    write(folder / "v2" / "dev-v2.0.json", entry(0), entry(1) | {"answers": [article]}, entry(2, is_impossible=True))
    scored = score(make_task("squad_v2", folder / "v2", null_score_diff_threshold=-1e9), tokenizer, 96)
    assert [line["prediction"] for line in scored.predictions] == ["", "", ""]
    for name in ("exact_match", "f1"):
        assert [line[name] for line in scored.predictions] == [0.0, 0.0, 1.0]
        assert scored.metrics[name] == pytest.approx(1 / 3)


def test_files_of_predictions(folder: Path, tokenizer: Tokenizer) -> None:
    scored = score(make_task("squad_v2", folder / "v2", answerability_weight=0.5), tokenizer, 96)
    assert scored.scores.values.shape[1] == 3
    assert set(scored.metrics) >= {"f1", "best_f1", "has_answer_f1", "no_answer_exact_match"}
    scored.task.write_files(scored.split, scored.scores, folder)
    predictions, odds = (json.loads((folder / f"{name}.json").read_text()) for name in ("predictions", "null_odds"))
    assert list(predictions) == list(odds) == [f"q{number}" for number in range(12, 20)]
    assert predictions == {line["id"]: line["prediction"] for line in scored.predictions}


def test_what_is_refused(folder: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"qas\[0\] is impossible to answer, as in SQuAD 2\.0; take task=squad_v2"):
        make_task("squad", folder / "v2").prepare(tokenizer, 96)
    write(folder / "v1" / "train-v1.1.json", entry(0) | {"answers": []})
    with pytest.raises(ValueError, match=r"train-v1\.1\.json, .*qas\[0\] has no answer to train on"):
        make_task("squad", folder / "v1").prepare(tokenizer, 96)
    write(folder / "train-v1.1.json", entry(0))
    for task, prefix in (("squad", "v1.1"), ("squad_v2", "v2.0")):
        for name, rows in (("train", [entry(0)]), ("dev", [entry(0), entry(1) | {"answers": []}])):
            write(folder / f"{name}-{prefix}.json", *rows)
        files = {"train": f"train-{prefix}.json", "validation": f"dev-{prefix}.json"}
        with pytest.raises(ValueError, match=r"dev-.*qas\[1\] has no answer to validate on"):
            make_task(task, folder, **files).prepare(tokenizer, 48)
    with pytest.raises(ValueError, match=r"task\.chosen_by must be one of exact_match, f1; got best_f1"):
        make_task("squad", folder / "v1", chosen_by="best_f1")
    with pytest.raises(ValueError, match=r"task\.n_best_size must be a whole number, at least 1; got 0"):
        make_task("squad", folder / "v1", n_best_size=0)
    with pytest.raises(ValueError, match=r"task\.answerability_weight must be null or above 0; got 0"):
        make_task("squad_v2", folder / "v2", answerability_weight=0)


def test_questions_are_held_out_if_there_is_no_dev_file(folder: Path, tokenizer: Tokenizer) -> None:
    train = folder / "v1" / "train-v1.1.json"
    texts = [{"context": CONTEXT + "!" * n, "qas": [entry(3 * n + k) for k in range(3)]} for n in range(4)]
    train.write_text(json.dumps({"data": [{"paragraphs": texts}]}))
    splits = make_task("squad", train, validation_share=0.25).prepare(tokenizer, 96)
    assert {name: len(split.records) for name, split in splits.items()} == {TRAIN: 9, VALIDATION: 3}
    assert len({each.context for each in splits[VALIDATION].records}) == 1
    unlabeled = entry(1) | {"answers": []}
    write(folder / "v1" / "test-v1.1.json", entry(0), unlabeled)
    with pytest.raises(ValueError, match=r"qas\[1\] has no answer, but other examples of the test split have one"):
        make_task("squad", folder / "v1").prepare(tokenizer, 96)
    write(folder / "v1" / "test-v1.1.json", unlabeled)
    splits = make_task("squad", folder / "v1").prepare(tokenizer, 96)
    assert [name for name, split in splits.items() if not split.is_labeled] == ["test"]
