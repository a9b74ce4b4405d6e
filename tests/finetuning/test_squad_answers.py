"""Answers out of scores: all spans by brute force, windows, n-best lists of one, no answer, and the files."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bert_lightning.finetuning.squad_answers import AnsweredQuestion, answer_questions, n_best_entries, write_answers
from data_pipeline.tasks.answer_windows import AnswerWindows, encode_questions
from data_pipeline.tasks.task_records import Answer, Question
from data_pipeline.tokenizers.tokenizer import train_wordpiece

CONTEXT = "In 1191 Duke Berthold of Zähringen founded the city. It lies on a river, the Aare, and is old."
MAX_LENGTH = 4


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([CONTEXT, "When was it founded?"] * 3, vocab_size=300)


def ask(identifier: str, context: str = CONTEXT) -> Question:
    return Question(identifier, "When was it founded?", context, (Answer("1191", 3),), False, "x.json")


def random_scores(windows: AnswerWindows, columns: int = 2) -> NDArray[np.float32]:
    shape = (len(windows.char_begin), columns)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def all_spans(windows: AnswerWindows, scores: NDArray[np.float32], question: int, context: str) -> dict[str, float]:
    """Best score of every text that some allowed span has, by three loops."""
    texts: dict[str, float] = {}
    for window in np.flatnonzero(windows.questions == question):
        low, high = windows.examples.cu_seqlens[window : window + 2]
        for first in range(low, high):
            for last in range(first, min(first + MAX_LENGTH, high)):
                if windows.has_max_context[first] and windows.char_begin[first] >= 0 and windows.char_begin[last] >= 0:
                    text = context[windows.char_begin[first] : windows.char_end[last]]
                    score = float(scores[first, 0]) + float(scores[last, 1])
                    texts[text] = max(score, texts.get(text, -np.inf))
    return texts


@pytest.mark.parametrize("n_best_size", [1, 3, 500])
def test_the_best_spans_are_those_of_a_brute_force_search(tokenizer: Tokenizer, n_best_size: int) -> None:
    """With an n-best list of one there still is an answer."""
    questions = [ask("a"), ask("b"), ask("c", "Bern is old. " * 3)]
    windows = encode_questions(tokenizer, questions, seq_len=24, doc_stride=5, max_query_length=6)
    assert len(windows.questions) > 6
    scores = random_scores(windows)
    for number, answer in enumerate(answer_questions(questions, windows, scores, n_best_size, MAX_LENGTH)):
        texts = all_spans(windows, scores, number, questions[number].context)
        expected = sorted(texts.values(), reverse=True)[:n_best_size]
        found = [candidate.score for candidate in answer.candidates]
        assert 1 <= len(found) <= len(expected)
        assert all(texts[c.text] == pytest.approx(c.score) for c in answer.candidates)
        assert found == pytest.approx(expected[: len(found)])
        first = windows.examples.cu_seqlens[:-1][windows.questions == number]
        assert answer.no_answer.score == pytest.approx(scores[first].sum(axis=1).min())
        assert answer.null_odds == pytest.approx(answer.no_answer.score - expected[0])


def test_answers_may_be_the_first_and_the_last_token(tokenizer: Tokenizer) -> None:
    """FARM once counted both as no answer (deepset-ai/FARM, pull request 698)."""
    questions = [ask("a")]
    windows = encode_questions(tokenizer, questions)
    (text,) = np.nonzero(windows.char_begin >= 0)
    for token, expected in ((text[0], "In"), (text[-1], ".")):
        scores = np.zeros((len(windows.char_begin), 2), dtype=np.float32)
        scores[token] = 5.0
        (answer,) = answer_questions(questions, windows, scores)
        assert answer.best_text == expected
        assert answer.text(threshold=0.0) == expected


def test_the_null_odds_are_the_classifiers_if_there_is_one(tokenizer: Tokenizer) -> None:
    questions = [ask("a")]
    windows = encode_questions(tokenizer, questions, seq_len=24, doc_stride=5, max_query_length=6)
    scores = random_scores(windows, columns=3)
    (answer,) = answer_questions(questions, windows, scores)
    (spans,) = answer_questions(questions, windows, scores[:, :2])
    assert answer.null_odds == pytest.approx(scores[windows.examples.cu_seqlens[:-1], 2].min())
    assert answer.candidates == spans.candidates


def test_a_text_without_a_token_has_no_answer(tokenizer: Tokenizer) -> None:
    questions = [ask("a", context=" ")]
    windows = encode_questions(tokenizer, questions)
    (answer,) = answer_questions(questions, windows, random_scores(windows))
    assert (answer.best_text, answer.candidates) == ("", [])
    assert np.isfinite(answer.null_odds)
    (entry,) = n_best_entries(answer, 20, may_be_none=False)
    assert (entry["text"], entry["probability"]) == ("", 1.0)


def test_the_files_are_those_of_google_research(tokenizer: Tokenizer, tmp_path: Path) -> None:
    questions = [ask("a"), ask("b")]
    windows = encode_questions(tokenizer, questions)
    answers = answer_questions(questions, windows, random_scores(windows), n_best_size=2)
    low, high = sorted(answer.null_odds for answer in answers)
    write_answers(tmp_path, questions, answers, 2, threshold=(low + high) / 2)
    predictions, n_best, odds = (
        json.loads((tmp_path / name).read_text())
        for name in ("predictions.json", "nbest_predictions.json", "null_odds.json")
    )
    for question, answer in zip(questions, answers, strict=True):
        assert odds[question.identifier] == answer.null_odds
        is_answered = answer.null_odds == low
        assert predictions[question.identifier] == (answer.best_text if is_answered else "")
        entries = n_best[question.identifier]
        assert {entry["text"] for entry in entries} >= {"", answer.best_text}
        assert sum(entry["probability"] for entry in entries) == pytest.approx(1)
        assert entries[0].keys() == {"text", "probability", "start_logit", "end_logit"}
        best = entries[0]["start_logit"] + entries[0]["end_logit"]
        other = entries[1]["start_logit"] + entries[1]["end_logit"]
        assert entries[1]["probability"] / entries[0]["probability"] == pytest.approx(np.exp(other - best))


def test_version_one_always_answers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    questions = [ask("a")]
    windows = encode_questions(tokenizer, questions)
    scores = random_scores(windows)
    scores[0] = 100.0  # [CLS]
    answers: list[AnsweredQuestion] = answer_questions(questions, windows, scores)
    write_answers(tmp_path, questions, answers, 20, threshold=None)
    assert json.loads((tmp_path / "predictions.json").read_text())["a"] == answers[0].best_text != ""
    assert "" not in [entry["text"] for entry in json.loads((tmp_path / "nbest_predictions.json").read_text())["a"]]
    assert not (tmp_path / "null_odds.json").exists()
