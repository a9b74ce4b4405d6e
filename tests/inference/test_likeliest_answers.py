"""Tasks in words: the prompts byte for byte, and likelihoods against transformers' losses."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import HydraException
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from bert_lightning.checkpoints.task_head import PROBLEM_TYPES, SEQUENCE_CLASSIFICATION, TaskHead
from bert_lightning.evaluate import evaluate
from bert_lightning.finetuning.task import Split
from bert_lightning.inference.loading import load_model
from bert_lightning.inference.prompting import likeliest_answers
from bert_lightning.inference.prompting.answer_likelihoods import AnswerScorer
from bert_lightning.inference.prompting.asking import Prompting
from bert_lightning.inference.prompting.prompts import WORDINGS, Asked, few_shot_prompt, filled
from bert_lightning.settings.conf_files import CONF_DIR
from data_pipeline.tasks.glue import GLUE_TASKS
from data_pipeline.tasks.task_records import LabeledText
from tests.support.causal_models import write_causal
from tests.support.runs import compose_here
from tests.support.settings import Settings

REVIEWS = [
    ("fine king", "positive"),
    ("old queen", "negative"),
    ("the king walks", "positive"),
    ("no king", "negative"),
]


@pytest.fixture
def model(tmp_path: Path, tokenizer: Tokenizer) -> PreTrainedModel:
    return write_causal(tmp_path / "gpt", tokenizer)


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    """SST-2 with four training and two validation examples."""
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    for split, rows in (("train", REVIEWS), ("dev", [("a fine queen", "positive"), ("an old king", "negative")])):
        lines = [f"{text}\t{int(label == 'positive')}" for text, label in rows]
        (folder / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    return folder.parent


def scores_of(tmp_path: Path, changes: Settings) -> dict[str, float]:
    given = {"checkpoint": tmp_path / "gpt", "accelerator": "cpu"}
    try:
        return evaluate(compose_here("evaluate", given | changes))["prompted"]
    except HydraException as error:
        raise error.__cause__ or error from None


def prompts_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """The list that every prompt and its answers go into when a task is asked."""
    seen: list[tuple[str, tuple[str, ...]]] = []
    scores = likeliest_answers._Examiner.scores

    def listen(self: Any, prompts: list[str], asked: list[Asked]) -> Any:
        seen.extend((prompt, each.answers) for prompt, each in zip(prompts, asked, strict=True))
        return scores(self, prompts, asked)

    monkeypatch.setattr(likeliest_answers._Examiner, "scores", listen)
    return seen


def test_prompts_are_these_bytes(
    tmp_path: Path, glue: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = prompts_of(monkeypatch)
    found = scores_of(tmp_path, {"task": "sst2", "task.path": glue, "prompting.shots": "[0,2]"})
    question = "Review: a fine queen\nSentiment:"
    assert [prompt for prompt, _ in seen[:2]] == [question, "Review: an old king\nSentiment:"]
    assert {answers for _, answers in seen} == {("negative", "positive")}
    shown = [f"Review: {text}\nSentiment: {label}" for text, label in REVIEWS]
    first, second, last = seen[2][0].split("\n\n")
    assert last == question
    assert first in shown
    assert second in shown
    assert first != second
    assert set(found) == {"0_shots_accuracy", "0_shots_cut", "2_shots_accuracy", "2_shots_cut", "examples"}
    again = prompts_of(monkeypatch)
    scores_of(tmp_path, {"task": "sst2", "task.path": glue, "prompting.shots": "[1]"})
    assert again[0][0] == f"{first}\n\n{question}"  # fewer shots are the first of more


def test_shots_are_drawn_for_each_question() -> None:
    train = [Asked(str(number), ("a",), 0) for number in range(4)]
    prompting = Prompting([2])
    drawn = {tuple(each.question for each in prompting.shown(train, 2, row)) for row in range(100)}
    assert len(drawn) == 12  # every ordered pair


def test_some_examples_are_drawn_by_the_seed_and_stay_in_their_order() -> None:
    """The fake encoded examples are the rows that are taken of them."""
    encoded: Any = SimpleNamespace(take=lambda rows: rows.tolist())
    split = Split("validation", encoded, range(100, 150))

    def some(examples: int | None, seed: int = 0) -> Split:
        return likeliest_answers._some(split, Prompting(examples=examples, seed=seed))

    ten = some(10)
    assert ten.records == sorted(ten.records)
    assert len(set(ten.records)) == 10
    assert ten.encoded == [record - 100 for record in ten.records]
    assert some(10).records == ten.records
    assert len({tuple(some(10, seed).records) for seed in range(20)}) == 20
    assert some(50) is some(None) is split


def test_a_template_and_answers_of_the_user_are_taken(
    tmp_path: Path, glue: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = prompts_of(monkeypatch)
    words = {"prompting.template": r"'{text}\nIt was'", "prompting.answers": "{negative: bad, positive: 'very good'}"}
    scores_of(tmp_path, {"task": "sst2", "task.path": glue, "prompting.shots": "[1]"} | words)
    assert seen[0][1] == ("bad", "very good")
    text, label = next(row for row in REVIEWS if seen[0][0].startswith(row[0]))
    answer = {"negative": "bad", "positive": "very good"}[label]
    assert seen[0][0] == f"{text}\nIt was {answer}\n\na fine queen\nIt was"


def test_the_split_is_that_of_the_command(
    tmp_path: Path, glue: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = prompts_of(monkeypatch)
    assert scores_of(tmp_path, {"task": "sst2", "task.path": glue, "split": "train"})["examples"] == len(REVIEWS)
    assert [prompt for prompt, _ in seen] == [f"Review: {text}\nSentiment:" for text, _ in REVIEWS]


def test_a_template_of_the_user_keeps_the_answers_of_the_task() -> None:
    head = TaskHead(SEQUENCE_CLASSIFICATION, ["unacceptable", "acceptable"], PROBLEM_TYPES[0])
    task: Any = SimpleNamespace(name="cola", head=lambda: head)
    record = LabeledText("0", "the king walks", None, "acceptable", "here")
    ask = likeliest_answers._asking(task, [record], Prompting(template="{text} Is it fine?", normalize="none"))
    assert ask(record) == Asked("the king walks Is it fine?", ("no", "yes"), 1)


def test_choices_are_the_answers(
    tmp_path: Path, model: PreTrainedModel, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": "the king", "choices": ["walks", "a queen slowly"], "label": 1}] * 3
    for split in ("train", "dev"):
        (tmp_path / "choices").mkdir(exist_ok=True)
        (tmp_path / "choices" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    seen = prompts_of(monkeypatch)
    task = {"task": "multiple_choice", "task.path": tmp_path / "choices", "prompting.shots": "[1]"}
    found = scores_of(tmp_path, task | {"prompting.normalize": "none"})
    assert seen[0] == ("the king a queen slowly\n\nthe king", ("walks", "a queen slowly"))
    assert found["1_shots_accuracy"] in (0, 1)


def test_likelihoods_are_those_of_transformers(tmp_path: Path, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    draw = np.random.default_rng(0)
    prompts = [draw.integers(5, 100, size).tolist() for size in (1, 7, 20, 3)]
    answers = [draw.integers(5, 100, size).tolist() for size in (4, 1, 9, 2)]
    scorer = AnswerScorer(load_model(tmp_path / "gpt", "cpu"), "this test", batch_tokens=20)
    found = scorer.log_likelihoods(prompts, answers)
    for prompt, answer, ours in zip(prompts, answers, found, strict=True):
        labels = torch.tensor([[-100] * len(prompt) + answer])
        loss = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss
        assert ours == pytest.approx(-loss.item() * len(answer), abs=1e-4)


def test_normalizations_compare_what_they_say(tmp_path: Path, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    loaded = load_model(tmp_path / "gpt", "cpu")
    scorer = AnswerScorer(loaded, "this test", 4096)
    asked = Asked("the king:", ("walks", "a queen slowly"), 0)
    ids = {text: tokenizer.encode(text, add_special_tokens=False).ids for text in ("the king:", ":", *asked.answers)}
    start = tokenizer.token_to_id("[CLS]")

    def summed(before: str) -> np.ndarray:
        return scorer.log_likelihoods([[start, *ids[before]]] * 2, [ids[each] for each in asked.answers])

    wanted = {
        "none": summed("the king:"),
        "tokens": summed("the king:") / [len(ids[each]) for each in asked.answers],
        "context": summed("the king:") - summed(":"),
    }
    for normalize, expected in wanted.items():
        scores, num_cut = likeliest_answers._Examiner(scorer, loaded, normalize, ":").scores([asked.question], [asked])
        np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
        assert num_cut == 0


def test_an_answer_stands_behind_a_space(
    tmp_path: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of a byte-level BPE depend on it."""
    loaded = load_model(tmp_path / "gpt", "cpu")
    examiner, encoded = likeliest_answers._Examiner(AnswerScorer(loaded, "this test", 4096), loaded, "none", ""), []
    ids = likeliest_answers._Examiner._ids
    monkeypatch.setattr(likeliest_answers._Examiner, "_ids", lambda self, text: encoded.append(text) or ids(self, text))
    examiner.scores(["the king"], [Asked("the king", ("walks", "slowly"), 0)])
    assert encoded == ["the king", " walks", " slowly"]


def test_a_long_prompt_loses_its_beginning(tmp_path: Path, model: PreTrainedModel) -> None:
    loaded = load_model(tmp_path / "gpt", "cpu")
    examiner = likeliest_answers._Examiner(AnswerScorer(loaded, "this test", 4096), loaded, "none", "")
    asked = Asked("the king", ("walks", "slowly"), 0)
    long, longer = ("the queen . " * times + asked.question for times in (40, 60))
    other_end = long.removesuffix("king") + "queen"
    scores, num_cut = examiner.scores([long, longer, asked.question, other_end], [asked] * 4)
    assert num_cut == 3
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    assert not np.allclose(scores[0], scores[3], rtol=1e-3)
    with pytest.raises(ValueError, match=r"an answer to 'the king' has \d+ tokens; it must have from 1 to 62"):
        examiner.scores(["the king"], [Asked("the king", ("walks", "the queen . " * 40), 0)])


def test_the_end_of_a_template_must_fit_before_the_answers(tmp_path: Path, model: PreTrainedModel) -> None:
    loaded = load_model(tmp_path / "gpt", "cpu")
    scorer, asked, cue = AnswerScorer(loaded, "this test", 4096), Asked("the king", ("walks",), 0), "the queen . " * 40
    likeliest_answers._Examiner(scorer, loaded, "tokens", cue).check([asked])
    said = r"prompting.template has \d+ tokens after its last field, .*normalize=context .* leave room for \d+"
    with pytest.raises(ValueError, match=said):
        likeliest_answers._Examiner(scorer, loaded, "context", cue).check([asked])


def test_every_task_with_answers_has_a_wording_that_fits() -> None:
    assert WORDINGS["sst2"].cue == "Sentiment:"
    assert WORDINGS["codah"].cue == ""
    for name, wording in WORDINGS.items():
        assert (Path(CONF_DIR) / "task" / f"{name}.yaml").exists(), name
        texts = {"text": "<1>", "text_pair": "<2>", "context": "<1>", "question": "<2>"}
        question = filled(wording.template, texts)
        assert "<1>" in question
        layout = GLUE_TASKS.get(name)
        if layout is not None:
            assert ("<2>" in question) == (layout.text_pair is not None), name
            assert set(wording.answers) in (set(), set(layout.classes.values())), name
    assert {name for name, layout in GLUE_TASKS.items() if layout.classes} <= set(WORDINGS)
    assert few_shot_prompt([], Asked("q", ("a",), 0)) == "q"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shots": []}, r"prompting.shots must be whole numbers, such as \[0,1,4\]"),
        ({"shots": [-1]}, "prompting.shots must be"),
        ({"examples": 0}, "prompting.examples must be"),
        ({"normalize": "length"}, "prompting.normalize must be one of tokens, none, context; got length"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Prompting(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompting.shots": "[5]"}, "prompting.shots=5, but there are 4 training examples"),
        (
            {"split": "train", "prompting.shots": "[1]"},
            r"split=train with prompting.shots=\[.*\]: a question would stand solved",
        ),
        ({"prompting.answers": "{negative: '', positive: yes}"}, "an answer to .* has 0 tokens; it must have from 1"),
        ({"split": "test"}, "split must be one of train, validation; got test"),
        ({"prompting.answers": "{good: yes}"}, "prompting.answers has good, which is no label; .*negative, positive"),
        ({"prompting.template": "'{text} {text_pair}'"}, r"prompting.template must have one or more of \{text\}, and"),
        ({"task": "stsb"}, "task.path=.* has no train split"),
        ({"task": "glue"}, "task must be the name of a file in conf/task"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    changes: Settings, said: str, tmp_path: Path, glue: Path, model: PreTrainedModel
) -> None:
    with pytest.raises(ValueError, match=said):
        scores_of(tmp_path, {"task": "sst2", "task.path": glue} | changes)
