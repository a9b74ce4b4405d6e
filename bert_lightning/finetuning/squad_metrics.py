"""Exact match and F1 of answers, as the official scripts of SQuAD 1.1 and 2.0 compute them (as shares, not percent).

The official scripts are Rajpurkar's evaluate-v1.1.py and evaluate-v2.0.py. They differ if an answer and its prediction
are both empty once articles and punctuation are gone: F1 is then 0 in 1.1, and 1 in 2.0.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_pipeline.tasks.task_records import Question

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """How well each question is answered.

    Attributes:
        exact: 1 if the prediction is one of the right answers, (questions,).
        f1: The largest F1 of words with any of the right answers, (questions,).
        has_answer: Whether the question has a right answer, (questions,).
        is_empty: Whether nothing is predicted, (questions,).
    """

    exact: NDArray[np.float64]
    f1: NDArray[np.float64]
    has_answer: NDArray[np.bool_]
    is_empty: NDArray[np.bool_]

    def gains(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much one of the scores is better than no answer, (questions,)."""
        return np.where(self.has_answer, values, np.where(self.is_empty, 0.0, -1.0))


def normalized(text: str) -> str:
    r"""Return a text in lower case, without articles and ASCII punctuation, with single spaces.

    >>> normalized("The  U.S.-based \u00c9cole, a school!")
    'usbased école school'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    """Return 1 if two texts are equal when normalized, else 0."""
    return float(normalized(prediction) == normalized(answer))


def word_f1(prediction: str, answer: str, both_empty: float = 1.0) -> float:
    """Return F1 of the words of a prediction.

    >>> word_f1("in the old town", "the Old Town of Bern")
    0.5714285714285715

    Args:
        prediction: The prediction.
        answer: The right answer.
        both_empty: F1 of two texts without a word.
    """
    predicted, right = normalized(prediction).split(), normalized(answer).split()
    if not predicted and not right:
        return both_empty
    common = sum((Counter(predicted) & Counter(right)).values())
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(right)
    return 2 * precision * recall / (precision + recall)


def score_v1(questions: Sequence[Question], predictions: Sequence[str]) -> AnswerScores:
    """Return the scores of SQuAD 1.1; every question has an answer."""
    answers = [[answer.text for answer in question.answers] for question in questions]
    return _score(answers, predictions, lambda prediction, answer: word_f1(prediction, answer, both_empty=0.0))


def score_v2(questions: Sequence[Question], predictions: Sequence[str]) -> AnswerScores:
    """Return the scores of SQuAD 2.0; an impossible question is answered right by an empty text."""
    return score_spans([[answer.text for answer in question.answers] for question in questions], predictions)


def score_spans(right: Sequence[Sequence[str]], predictions: Sequence[str]) -> AnswerScores:
    """Return the scores of SQuAD 2.0 for the right answers of each question, none if it is impossible."""
    answers = [[text for text in some if normalized(text)] or [""] for some in right]
    has_answer = np.array([bool(some) for some in right])
    return replace(_score(answers, predictions, word_f1), has_answer=has_answer)


def without_answers(scores: AnswerScores, is_none: NDArray[np.bool_]) -> AnswerScores:
    """Return the scores if some questions get no answer, which is right for those that have none, and for no others.

    Args:
        scores: Scores of the best spans.
        is_none: Whether a question gets no answer, (questions,).
    """
    exact, f1 = (np.where(is_none, ~scores.has_answer, values) for values in (scores.exact, scores.f1))
    return replace(scores, exact=exact, f1=f1)


def metrics_v1(scores: AnswerScores) -> dict[str, float]:
    """Return exact match and F1 over all questions."""
    return {"exact_match": scores.exact.mean().item(), "f1": scores.f1.mean().item()}


def metrics_by_answer(scores: AnswerScores) -> dict[str, float]:
    """Return exact match and F1 over all questions, and over those with and those without an answer."""
    metrics: dict[str, float] = {}
    for name, values in (("exact_match", scores.exact), ("f1", scores.f1)):
        metrics[name] = values.mean().item()
        for group, members in (("has_answer", scores.has_answer), ("no_answer", ~scores.has_answer)):
            if members.any():
                metrics[f"{group}_{name}"] = values[members].mean().item()
    return metrics


def metrics_v2(scores: AnswerScores, null_odds: NDArray[np.float64], threshold: float | None) -> dict[str, float]:
    """Return exact match and F1 over all questions, over those with and those without an answer, and at the best.

    Args:
        scores: Scores of the best spans, without any empty prediction for high null odds.
        null_odds: The null odds of each question, (questions,).
        threshold: Null odds above which there is no answer; None takes that of the best F1.
    """
    exact_gain, exact_threshold = best_threshold(scores.gains(scores.exact), null_odds)
    f1_gain, f1_threshold = best_threshold(scores.gains(scores.f1), null_odds)
    is_none = null_odds > (f1_threshold if threshold is None else threshold)
    metrics = metrics_by_answer(without_answers(scores, is_none))
    silent = (~scores.has_answer).mean().item()  # the score of no answer to any question
    bests = {"best_exact_match": silent + exact_gain, "best_exact_match_threshold": exact_threshold}
    return metrics | bests | {"best_f1": silent + f1_gain, "best_f1_threshold": f1_threshold}


def best_threshold(gains: NDArray[np.float64], null_odds: NDArray[np.float64]) -> tuple[float, float]:
    """Return the largest mean gain that a threshold of the null odds reaches, and that threshold.

    Questions are answered in the order of their null odds (evaluate-v2.0.py, `find_best_thresh`). Two details differ:
    questions with equal odds are answered together, as any threshold does, and the threshold that answers none is below
    all odds, not 0.

    Args:
        gains: By how much each answer is better than no answer, (questions,).
        null_odds: The null odds, (questions,).
    """
    order = np.argsort(null_odds, kind="stable")
    odds = null_odds[order]
    totals = np.concatenate([[0.0], np.cumsum(gains[order])])  # (questions + 1,)
    is_reachable = np.concatenate([[True], odds[1:] > odds[:-1], [True]])
    best = int(np.where(is_reachable, totals, -np.inf).argmax())
    threshold = odds[best - 1] if best else np.nextafter(odds[0], -np.inf)
    return totals[best].item() / len(gains), threshold.item()


def _score(
    answers: Sequence[Sequence[str]], predictions: Sequence[str], f1: Callable[[str, str], float]
) -> AnswerScores:
    """Return for each prediction the best scores with any of its answers."""
    exact = [
        max(exact_match(given, answer) for answer in right) for given, right in zip(predictions, answers, strict=True)
    ]
    best_f1 = [max(f1(given, answer) for answer in right) for given, right in zip(predictions, answers, strict=True)]
    is_empty = np.array([not prediction for prediction in predictions])
    return AnswerScores(np.array(exact), np.array(best_f1), np.ones(len(exact), dtype=bool), is_empty)
