"""SQuAD's metrics beside the official algorithms, written here a second time, on hard cases and on the real files."""

import collections
import re
import string
from collections.abc import Sequence

import numpy as np
import pytest

from bert_lightning.finetuning.squad_metrics import metrics_v1, metrics_v2, score_v1, score_v2
from data_pipeline.tasks.squad import read_squad
from data_pipeline.tasks.task_records import Answer, Question
from tests.support.checkout import SHARED_DATA


def ask(*answers: str, identifier: str = "q") -> Question:
    return Question(identifier, "?", "", tuple(Answer(text, 0) for text in answers), not answers, "x")


def official_normalize(s: str) -> str:
    def remove_articles(text: str) -> str:
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

    def remove_punctuation(text: str) -> str:
        excluded = set(string.punctuation)
        return "".join(letter for letter in text if letter not in excluded)

    return " ".join(remove_articles(remove_punctuation(s.lower())).split())


def official_f1(gold: str, prediction: str, is_v2: bool) -> float:
    gold_words, words = official_normalize(gold).split(), official_normalize(prediction).split()
    common = collections.Counter(gold_words) & collections.Counter(words)
    same = sum(common.values())
    if is_v2 and (len(gold_words) == 0 or len(words) == 0):
        return int(gold_words == words)
    if same == 0:
        return 0
    precision, recall = same / len(words), same / len(gold_words)
    return (2 * precision * recall) / (precision + recall)


def official_raw(questions: Sequence[Question], predictions: Sequence[str], is_v2: bool) -> list[tuple[float, float]]:
    """Exact match and F1 of each question."""
    raw = []
    for question, prediction in zip(questions, predictions, strict=True):
        golds = [answer.text for answer in question.answers]
        if is_v2:
            golds = [gold for gold in golds if official_normalize(gold)] or [""]
        exact = max(int(official_normalize(gold) == official_normalize(prediction)) for gold in golds)
        raw.append((exact, max(official_f1(gold, prediction, is_v2) for gold in golds)))
    return raw


def official_best(raw: dict[str, float], odds: dict[str, float], has: dict[str, bool], texts: dict[str, str]):
    """`find_best_thresh` of evaluate-v2.0.py."""
    current = best = sum(1 for name in has if not has[name])
    threshold = 0.0
    for name in sorted(odds, key=lambda name: odds[name]):
        difference = raw[name] if has[name] else -1 if texts[name] else 0
        current += difference
        if current > best:
            best, threshold = current, odds[name]
    return best / len(raw), threshold


HARD = [
    (["The U.S. Army"], "us army"),  # article, punctuation, case
    (["Denver Broncos", "The Broncos", "Broncos"], "broncos"),  # several right answers
    (["Denver Broncos", "Broncos"], "the Denver"),  # the best of several F1
    (["a"], "the"),  # nothing left of both
    (["a"], ""),
    (["Café Zoë"], "cafe zoe"),  # accents stay
    (["1,000"], "1000"),  # punctuation inside a number
    (["naïve — approach"], "naïve approach"),  # a dash of Unicode is no punctuation
    (["an apple a day"], "apple apple day"),  # words counted as often as they occur
    (["anthem"], "the anthem"),  # an article inside a word stays
    (["北京"], "北京 "),
]


@pytest.mark.parametrize(("golds", "prediction"), HARD)
def test_hard_cases(golds: list[str], prediction: str) -> None:
    questions = [ask(*golds)]
    for score, is_v2 in ((score_v1, False), (score_v2, True)):
        scores = score(questions, [prediction])
        ((exact, f1),) = official_raw(questions, [prediction], is_v2)
        assert (scores.exact[0], scores.f1[0]) == pytest.approx((exact, f1))


def test_hard_cases_by_hand() -> None:
    scores = score_v1([ask(*golds) for golds, _ in HARD], [prediction for _, prediction in HARD])
    assert scores.exact.tolist() == [1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1]
    assert scores.f1.tolist() == pytest.approx([1, 1, 2 / 3, 0, 0, 0, 1, 0.8, 0.8, 1, 1])
    assert score_v2([ask("a")], ["the"]).f1.tolist() == [1]


def test_no_answer_is_right_if_nothing_is_said() -> None:
    scores = score_v2([ask(), ask()], ["", "something"])
    assert (scores.exact.tolist(), scores.f1.tolist(), scores.has_answer.tolist()) == ([1, 0], [1, 0], [False, False])


def test_the_best_threshold_is_found_and_is_not_zero() -> None:
    """Two answered rightly with odds of 3 and below, one without an answer at 4: the threshold is 3."""
    questions = [ask("x"), ask("y"), ask(), ask("z")]
    odds = np.array([-1.0, 3.0, 4.0, 5.0])
    scores = score_v2(questions, ["x", "y", "guess", "wrong"])
    found = metrics_v2(scores, odds, threshold=None)
    assert (found["best_f1"], found["best_f1_threshold"], found["f1"]) == (0.75, 3.0, 0.75)
    assert metrics_v2(scores, odds, threshold=0.0)["f1"] == 0.5
    assert metrics_v2(scores, odds, threshold=9.0)["no_answer_f1"] == 0.0


def test_a_model_that_always_errs_says_nothing() -> None:
    """The threshold lies below all odds, so that using it gives the score that it was chosen for."""
    scores = score_v2([ask(), ask("x")], ["guess", "wrong"])
    odds = np.array([-7.0, -3.0])
    found = metrics_v2(scores, odds, threshold=None)
    assert found["best_exact_match_threshold"] < -7
    assert found["exact_match"] == found["best_exact_match"] == 0.5


def test_equal_odds_are_on_one_side_of_every_threshold() -> None:
    scores = score_v2([ask("x"), ask()], ["x", "guess"])
    odds = np.array([1.0, 1.0])
    found = metrics_v2(scores, odds, threshold=None)
    assert found["best_f1"] == found["f1"] == 0.5


def predictions_for(questions: Sequence[Question]) -> list[str]:
    """Answers of all sorts: right ones, cut and longer ones, words of the context, empty ones."""
    numbers = np.random.default_rng(0)
    predictions = []
    for number, question in enumerate(questions):
        words = question.context.split()
        begin = numbers.integers(0, max(1, len(words) - 5))
        right = question.answers[-1].text if question.answers else "The " + words[0]
        wrong = " ".join(words[begin : begin + numbers.integers(1, 6)])
        predictions.append([right, right[: len(right) // 2 + 1], f"the {right}, {wrong}", wrong, ""][number % 5])
    return predictions


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
def test_version_one_on_the_real_questions() -> None:
    questions = read_squad(SHARED_DATA / "squad" / "dev-v1.1.rebuilt.json")
    predictions = predictions_for(questions)
    raw = np.array(official_raw(questions, predictions, is_v2=False))
    found = metrics_v1(score_v1(questions, predictions))
    assert (found["exact_match"], found["f1"]) == pytest.approx(tuple(raw.mean(axis=0)))
    assert 0.2 < found["exact_match"] < found["f1"] < 0.8


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
def test_version_two_on_the_real_questions() -> None:
    questions = read_squad(SHARED_DATA / "squad" / "dev-v2.0.rebuilt.json")
    predictions = predictions_for(questions)
    shift = np.array([2.0 * question.is_impossible for question in questions])
    odds = np.random.default_rng(1).normal(size=len(questions)) + shift + 0.7
    raw = official_raw(questions, predictions, is_v2=True)
    names = [question.identifier for question in questions]
    has = {question.identifier: bool(question.answers) for question in questions}
    texts = dict(zip(names, predictions, strict=True))
    found = metrics_v2(score_v2(questions, predictions), odds, threshold=1.5)
    for column, metric in enumerate(("exact_match", "f1")):
        by_name = {name: scores[column] for name, scores in zip(names, raw, strict=True)}
        best, threshold = official_best(by_name, dict(zip(names, odds.tolist(), strict=True)), has, texts)
        assert (found[f"best_{metric}"], found[f"best_{metric}_threshold"]) == pytest.approx((best, threshold))
        final = np.array([by_name[n] if o <= 1.5 else float(not has[n]) for n, o in zip(names, odds, strict=True)])
        members = np.array([has[name] for name in names])
        assert found[metric] == pytest.approx(final.mean())
        assert found[f"has_answer_{metric}"] == pytest.approx(final[members].mean())
        assert found[f"no_answer_{metric}"] == pytest.approx(final[~members].mean())
