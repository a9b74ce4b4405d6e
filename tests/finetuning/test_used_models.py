"""Fine-tuned models in use: bert-evaluate and bert-predict on the files of their tasks say what bert-finetune says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import checkpoint_payload
from bert_lightning.evaluate import evaluate
from bert_lightning.predict import predict
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.finetuning.scored import SEQ_LEN, Scored, make_task, score
from tests.finetuning.tiny_task import lines
from tests.support.models import MODERN
from tests.support.runs import compose_here

CONTEXT = "In 1191 Duke Berthold founded Bern. It lies on a river, the Aare, and is old. " * 2
ANSWERS = {"When was it founded?": "1191", "Who founded Bern?": "Duke Berthold", "What river is it on?": "the Aare"}
TAGGED = ["Duke/B-PER Berthold/I-PER founded/O Bern/B-LOC ./O", "It/O lies/O on/O the/O Aare/B-LOC ./O"]
WINDOWS = {"doc_stride": 8, "max_query_length": 8}
each_kind = pytest.mark.parametrize("sizes", [{}, MODERN], ids=["bert", "modernbert"])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([CONTEXT, *ANSWERS] * 3, vocab_size=200)


def saved(scored: Scored, tokenizer: Tokenizer, path: Path, **task: Any) -> Path:
    """Write the model of a task as bert-finetune does."""
    settings = {"data": {"seq_len": SEQ_LEN}, "task": WINDOWS | task}
    config = scored.objective.encoder.config
    payload = checkpoint_payload(config, tokenizer_files(tokenizer), settings, scored.task.head())
    state = {f"objective.{name}": tensor for name, tensor in scored.objective.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 7, **payload}, path)
    return path


def evaluated(checkpoint: Path, path: Path, **columns: Any) -> dict[str, float]:
    labeled = {f"labeled.{name}": value for name, value in {"path": path, **columns}.items()}
    return evaluate(compose_here("evaluate", {"checkpoint": checkpoint, "batch_tokens": 100, **labeled}))["labeled"]


def evaluated_by_task(checkpoint: Path, name: str, path: Path, **task: Any) -> dict[str, float]:
    """Scores by the name of the task and its folder, as in the fine-tuning."""
    more = {"checkpoint": checkpoint, "batch_tokens": 100, "task": name, "split": task.pop("split", "validation")}
    settings = {f"task.{key}": value for key, value in {"path": path, **task}.items()}
    return evaluate(compose_here("evaluate", more | settings))["task"]


def predicted(checkpoint: Path, path: Path, **more: Any) -> list[dict[str, Any]]:
    output = path.with_name("said.jsonl")
    predict(compose_here("predict", {"checkpoint": checkpoint, "input": path, "output": output, **more}))
    return lines(output)


def write_questions(path: Path, impossible: int | None) -> None:
    """Write a file of SQuAD; one of the questions may have no answer."""
    entries = [
        {
            "id": f"q{number}",
            "question": question,
            "answers": [{"text": answer, "answer_start": CONTEXT.index(answer)}] if number != impossible else [],
            "is_impossible": number == impossible,
        }
        for number, (question, answer) in enumerate(ANSWERS.items())
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": entries}]}]}))


@pytest.mark.parametrize(("impossible", "weight"), [(None, None), (1, None), (1, 0.5)])
@each_kind
def test_questions(
    tmp_path: Path, tokenizer: Tokenizer, sizes: dict[str, Any], impossible: int | None, weight: float | None
) -> None:
    """The windows are those of the fine-tuning; the classifier of answerability gives the odds if there is one."""
    for name in ("train", "dev"):
        write_questions(tmp_path / f"{name}.json", impossible)
    more = WINDOWS if impossible is None else WINDOWS | {"answerability_weight": weight}
    name = "squad" if impossible is None else "squad_v2"
    scored = score(make_task(name, tmp_path, **more), tokenizer, sizes=sizes)
    checkpoint, metrics = saved(scored, tokenizer, tmp_path / "x.ckpt"), scored.metrics
    assert evaluated(checkpoint, tmp_path / "dev.json") == pytest.approx(metrics | {"examples": 3})
    given = {key: "null" if value is None else value for key, value in more.items()}
    assert evaluated_by_task(checkpoint, name, tmp_path, **given) == pytest.approx(metrics | {"examples": 3})
    threshold = metrics.get("best_f1_threshold")
    if threshold is not None:  # that of the validation split, on any split
        write_questions(tmp_path / "test.json", 0)
        of_test = evaluated_by_task(checkpoint, name, tmp_path, **given, split="test")
        known = evaluated_by_task(
            checkpoint, name, tmp_path, **given, null_score_diff_threshold=threshold, split="test"
        )
        assert of_test == pytest.approx(known)
    found = predicted(checkpoint, tmp_path / "dev.json", null_score_diff_threshold=threshold)
    assert [(line["id"], line["prediction"]) for line in found] == [
        (line["id"], line["prediction"]) for line in scored.predictions
    ]
    if threshold is not None:
        odds = [line["null_odds"] for line in scored.predictions]
        assert [line["null_odds"] for line in found] == pytest.approx(odds, abs=1e-5)
    question, text = next(iter(ANSWERS)), CONTEXT
    one = {"checkpoint": checkpoint, "text": f"'{text}'", "question": f"'{question}'"}
    predict(compose_here("predict", {**one, "output": tmp_path / "one.jsonl"}))
    (line,) = lines(tmp_path / "one.jsonl")
    assert line["prediction"] in text
    assert ("probability" in found[0]) == (found[0]["prediction"] != "")
    assert line["probability"] == pytest.approx(found[0].get("probability", line["probability"]), abs=1e-5)


def test_a_classifier_of_answerability_does_not_hinder_questions_that_all_have_answers(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """The metrics are those of the file: of SQuAD 1.1, by the best spans."""
    for name, impossible in (("train", 1), ("dev", 1), ("answered", None)):
        write_questions(tmp_path / f"{name}.json", impossible)
    files = {"train": "train.json", "validation": "dev.json"}
    task = make_task("squad_v2", tmp_path, **files, **WINDOWS, answerability_weight=0.5)
    checkpoint = saved(score(task, tokenizer), tokenizer, tmp_path / "x.ckpt")
    found = evaluated(checkpoint, tmp_path / "answered.json")
    assert set(found) == {"exact_match", "f1", "examples"}
    said = {line["id"]: line["prediction"] for line in predicted(checkpoint, tmp_path / "answered.json")}
    assert found["exact_match"] == sum(said[f"q{row}"] == answer for row, answer in enumerate(ANSWERS.values())) / 3


@each_kind
def test_choices(tmp_path: Path, tokenizer: Tokenizer, sizes: dict[str, Any]) -> None:
    rows = [{"text": text, "choices": list(ANSWERS.values()), "label": row} for row, text in enumerate(ANSWERS)]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scored = score(make_task("multiple_choice", tmp_path), tokenizer, sizes=sizes)
    checkpoint = saved(scored, tokenizer, tmp_path / "x.ckpt")
    assert evaluated(checkpoint, tmp_path / "dev.jsonl") == pytest.approx(scored.metrics | {"examples": 3})
    by_task = evaluated_by_task(checkpoint, "multiple_choice", tmp_path)
    assert by_task == pytest.approx(scored.metrics | {"examples": 3})
    found = predicted(checkpoint, tmp_path / "dev.jsonl")
    for line, expected, row in zip(found, scored.predictions, rows, strict=True):
        shares = np.exp(expected["scores"]) / np.exp(expected["scores"]).sum()
        assert line["probabilities"] == pytest.approx(shares.tolist(), abs=1e-5)
        assert (line["prediction"], line["choice"]) == (expected["prediction"], row["choices"][expected["prediction"]])
    swag = "sent1,sent2,ending0,ending1,label\nIt lies on,the,Aare,old,1\n"
    (tmp_path / "swag.csv").write_text(swag)
    assert evaluated(checkpoint, tmp_path / "swag.csv")["examples"] == 1
    codah = "o\tIt lies\ton a river\tin 1191\tis old\tBern\t0\n"
    (tmp_path / "codah.tsv").write_text(codah)
    assert evaluated(checkpoint, tmp_path / "codah.tsv")["examples"] == 1


@each_kind
def test_tags(tmp_path: Path, tokenizer: Tokenizer, sizes: dict[str, Any]) -> None:
    """In columns, in CoNLL-U and in a table."""
    for name in ("train.conll", "dev.conll"):
        (tmp_path / name).write_text("\n\n".join(each.replace(" ", "\n").replace("/", "\t") for each in TAGGED))
    scored = score(make_task("ner", tmp_path), tokenizer, sizes=sizes)
    checkpoint = saved(scored, tokenizer, tmp_path / "x.ckpt")
    expected = pytest.approx(scored.metrics | {"words": 11, "examples": 2})
    assert evaluated(checkpoint, tmp_path / "dev.conll") == expected
    assert evaluated_by_task(checkpoint, "ner", tmp_path) == expected
    pairs = [[word.split("/") for word in sentence.split()] for sentence in TAGGED]
    rows = [{"w": [word for word, _ in some], "t": [tag for _, tag in some]} for some in pairs]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluated(checkpoint, tmp_path / "dev.jsonl", words="w", tags="t") == expected
    columns = ["\n".join(f"{n}\t{w}\t_\t_\t{t}" + "\t_" * 5 for n, (w, t) in enumerate(some, 1)) for some in pairs]
    (tmp_path / "dev.conllu").write_text("\n\n".join(columns) + "\n\n")
    assert evaluated(checkpoint, tmp_path / "dev.conllu", tag_column="xpos") == expected


WRONG_FILES = [
    ("x.conll", "Bern\tB-ORG\n", {}, r"x.conll, line 1 has the tag 'B-ORG', which is none of O, B-LOC, B-PER, I-PER"),
    ("x.conll", "Bern\tPLACE\n", {}, r"x.conll, line 1 has the tag 'PLACE', which is none of O, B-LOC, B-PER, I-PER"),
    ("x.conll", "", {}, r"x.conll holds no sentences"),
    ("x.conll", "Bern B-LOC\n", {"tag_column": "upos"}, r"labeled.tag_column must be the number of a column of"),
    ("x.conll", "Bern B-LOC\n", {"tag_column": 2}, r"^labeled.tag_column=2, but .*x.conll, line 1 has 2 columns"),
    ("x.jsonl", '{"words": ["Bern"]}\n', {}, r"^labeled.tags=tags, but .*line 1 has no column 'tags'; it has words"),
    ("x.jsonl", '{"words": ["Bern"], "tags": []}\n', {}, r"x.jsonl, line 1 has 1 words, but 0 tags"),
]


def test_wrong_files_are_one_line(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for name in ("train.conll", "dev.conll"):
        (tmp_path / name).write_text("\n\n".join(each.replace(" ", "\n").replace("/", "\t") for each in TAGGED))
    checkpoint = saved(score(make_task("ner", tmp_path), tokenizer), tokenizer, tmp_path / "x.ckpt")
    for name, content, columns, message in WRONG_FILES:
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=message) as caught:
            evaluated(checkpoint, tmp_path / name, **columns)
        assert "\n" not in str(caught.value)
    for more, message in [
        ({"question": "Who?"}, r"question is for a model with a head for question_answering; checkpoint=.* has none"),
        ({"choices": "[a,b]"}, r"choices is for a model with a head for multiple_choice; checkpoint=.* has none"),
    ]:
        with pytest.raises(ValueError, match=message):
            predict(compose_here("predict", {"checkpoint": checkpoint, "text": "Bern", **more}))


def test_questions_and_choices_that_are_none(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for name in ("train", "dev"):
        write_questions(tmp_path / f"{name}.json", None)
    scored = score(make_task("squad", tmp_path, **WINDOWS), tokenizer)
    answering = saved(scored, tokenizer, tmp_path / "answering.ckpt")
    rows = "".join(json.dumps({"text": "Bern", "choices": ["is old", "lies"], "label": row}) + "\n" for row in (0, 1))
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text(rows)
    choices = make_task("multiple_choice", tmp_path, train="train.jsonl", validation="dev.jsonl")
    choosing = saved(score(choices, tokenizer), tokenizer, tmp_path / "choosing.ckpt")
    (tmp_path / "x.jsonl").write_text('{"text": "Bern", "choices": ["lies"]}\n')
    (tmp_path / "y.jsonl").write_text('{"text": "Bern", "choices": ["lies", "is"]}\n')
    (tmp_path / "x.json").write_text('{"data": []}')
    unanswered = json.loads((tmp_path / "dev.json").read_text())
    unanswered["data"][0]["paragraphs"][0]["qas"][1]["answers"] = []
    (tmp_path / "y.json").write_text(json.dumps(unanswered))
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (answering, {}, r"the model answers questions: give text=... and question=..., or input="),
        (answering, {"text": "Bern"}, r"the model answers questions: give text=... and question=..., or input="),
        (answering, {"input": "x.txt"}, r"input=x.txt must be questions in the format of SQuAD, a .json"),
        (answering, {"input": tmp_path / "x.json"}, r"x.json holds no questions"),
        (answering, {"input": "x.json", "question": "Who?"}, r"give either text=... with question=..., or input="),
        (choosing, {"text": "Bern"}, r"the model chooses: give text=... and choices=\"\[one,other\]\", or input="),
        (choosing, {"text": "Bern", "choices": "[lies]"}, r"choices must be at least 2 texts; got \['lies'\]"),
        (choosing, {"input": tmp_path / "x.jsonl"}, r"x.jsonl, line 1 has 1 choice; at least 2 are needed"),
        (
            choosing,
            {"text": "Bern", "text_pair": "lies"},
            r"text_pair is for a model of texts; checkpoint=.* has a head",
        ),
        (
            answering,
            {"text": "Bern", "question": "Who?", "seq_len": 65},
            r"seq_len=65, but the model has max_position_",
        ),
        (choosing, {"input": "x.jsonl", "choices": "[a,b]"}, r"give either text=... with choices=..., or input="),
    ]
    for checkpoint, more, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            predict(compose_here("predict", {"checkpoint": checkpoint, **more}))
        assert "\n" not in str(caught.value)
    for checkpoint, name, message in [
        (answering, "y.json", r"qas\[1\] has no answer to validate on"),
        (choosing, "y.jsonl", r"^labeled.label=label, but .*line 1 has no column 'label'; it has text, choices"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluated(checkpoint, tmp_path / name)


GLUE = {
    "sst2": ("dev.tsv", "sentence\tlabel\nBern is old\t1\nthe river\t0\nfounded\t1\n"),
    "cola": ("dev.tsv", "gj04\t1\t\tBern is old.\ngj04\t0\t*\tIt river a.\n"),
    "stsb": ("sts-dev.csv", "".join(f"g\tf\t2012\t1\t{n}.5\tBern is old\tIt is\n" for n in range(3))),
}


@pytest.mark.parametrize("name", GLUE)
def test_a_model_of_glue_is_scored_on_the_official_files(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    file, text = GLUE[name]
    for each in (file, file.replace("dev", "train")):
        (tmp_path / each).write_text(text)
    task = {"_target_": "bert_lightning.finetuning.glue_tasks.glue_task", "name": name}
    scored = score(make_task(name, tmp_path), tokenizer)
    checkpoint = saved(scored, tokenizer, tmp_path / "x.ckpt", **task)
    found = evaluated(checkpoint, tmp_path / file)
    assert {metric: found[metric] for metric in scored.metrics} == pytest.approx(scored.metrics, abs=1e-6)
    by_task = evaluated_by_task(checkpoint, name, tmp_path)
    assert {metric: by_task[metric] for metric in scored.metrics} == pytest.approx(scored.metrics, abs=1e-6)
    with pytest.raises(
        ValueError, match=rf"^split=test, but the splits of task={name} with right answers are train, v"
    ):
        evaluate(
            compose_here("evaluate", {"checkpoint": checkpoint, "task": name, "task.path": tmp_path, "split": "test"})
        )
    if name == "stsb":
        for split in ("train", "dev"):
            (tmp_path / f"{split}.tsv").write_text(GLUE["cola"][1])
        with pytest.raises(
            ValueError, match="was not fine-tuned for task=cola: its head has problem_type regression and"
        ):
            evaluated_by_task(checkpoint, "cola", tmp_path)
    if name == "sst2":
        (tmp_path / "own.tsv").write_text(
            "text\tlabel\nBern is old\tpositive\nthe river\tnegative\nfounded\tpositive\n"
        )
        assert evaluated(checkpoint, tmp_path / "own.tsv") == found
        task["name"] = "rte"
        paired = saved(scored, tokenizer, tmp_path / "paired.ckpt", **task)
        with pytest.raises(
            ValueError, match=r"dev\.tsv, line 2 is a single text, but checkpoint=.* was trained on pairs of texts"
        ):
            evaluated_by_task(paired, name, tmp_path)
        (tmp_path / "own.tsv").write_text("sentence\tlabel\nthe river\tfine\n")
        with pytest.raises(ValueError, match=r"own\.tsv, line 2 has label='fine', which must be one of 0, 1$"):
            evaluated(checkpoint, tmp_path / "own.tsv")


def test_columns_of_tags_are_read_under_any_ending(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for name in ("train.conll", "dev.conll", "eng.testb"):
        (tmp_path / name).write_text("\n\n".join(each.replace(" ", "\n").replace("/", "\t") for each in TAGGED))
    checkpoint = saved(score(make_task("ner", tmp_path), tokenizer), tokenizer, tmp_path / "x.ckpt")
    assert evaluated(checkpoint, tmp_path / "eng.testb") == evaluated(checkpoint, tmp_path / "dev.conll")
