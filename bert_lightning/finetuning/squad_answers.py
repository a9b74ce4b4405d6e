"""Scores of begins and ends -> answers: the best spans of each question, and the files of google-research/bert.

The text of an answer is cut out of the context by the offsets of its tokens. All spans of up to `max_answer_length`
tokens are compared, which contains what google-research/bert compares: combinations of its best begins and ends.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from data_pipeline.tasks.answer_windows import AnswerWindows
from data_pipeline.tasks.task_records import Question

PREDICTIONS, N_BEST, NULL_ODDS = "predictions.json", "nbest_predictions.json", "null_odds.json"
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible answer.

    Attributes:
        text: The span, empty for no answer.
        start_score: Score of its first token as begin.
        end_score: Score of its last token as end.
    """

    text: str
    start_score: float
    end_score: float

    @property
    def score(self) -> float:
        """Score of the answer."""
        return self.start_score + self.end_score


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """What a model says to a question.

    Attributes:
        candidates: The best spans, best first; empty if the context has no token.
        no_answer: The scores of [CLS] in the window in which they are lowest.
        null_odds: How much better no answer is than the best span; larger is less answerable.
    """

    candidates: list[Candidate]
    no_answer: Candidate
    null_odds: float

    @property
    def best_text(self) -> str:
        """Text of the best span, empty if there is none."""
        return self.candidates[0].text if self.candidates else ""

    def text(self, threshold: float | None) -> str:
        """Return the best span, or no answer if the null odds are above a threshold; None always answers."""
        return "" if threshold is not None and self.null_odds > threshold else self.best_text


def answer_questions(
    questions: Sequence[Question],
    windows: AnswerWindows,
    scores: NDArray[np.float32],
    n_best_size: int = 20,
    max_answer_length: int = 30,
) -> list[AnsweredQuestion]:
    """Return the answers to questions, in their order.

    Args:
        questions: The questions.
        windows: Their windows.
        scores: Scores of all tokens as begin and as end, (tokens, 2); a third column is the logit of no answer at
            [CLS], which then are the null odds (Clark et al., 2020).
        n_best_size: Most candidates of a question.
        max_answer_length: Most tokens of an answer.
    """
    first_window = np.searchsorted(windows.questions, np.arange(len(questions) + 1))  # (questions + 1,)
    cu_seqlens = windows.examples.cu_seqlens
    answered = []
    for question, (begin, end) in zip(questions, pairwise(first_window), strict=True):
        tokens = slice(cu_seqlens[begin], cu_seqlens[end])
        values = scores[tokens].astype(np.float64)  # (tokens of the question, 2 or 3)
        found: list[Candidate] = []
        for window in range(begin, end):
            inside = slice(cu_seqlens[window], cu_seqlens[window + 1])
            found += _candidates(question.context, windows, inside, scores, n_best_size, max_answer_length)
        answered.append(_answered(found, values[cu_seqlens[begin:end] - tokens.start], n_best_size))
    return answered


def _candidates(
    context: str,
    windows: AnswerWindows,
    inside: slice,
    scores: NDArray[np.float32],
    n_best_size: int,
    max_answer_length: int,
) -> list[Candidate]:
    """Return the best spans of one window, whose tokens are given as a slice of all tokens."""
    (text,) = np.nonzero(windows.char_begin[inside] >= 0)
    text += inside.start  # the tokens of the context, which are consecutive
    starts, ends = scores[text, :2].astype(np.float64).T
    allowed = np.where(windows.has_max_context[text], starts, -np.inf)
    candidates = []
    for first, last in _best_spans(allowed, ends, n_best_size, max_answer_length):
        words = context[windows.char_begin[text[first]] : windows.char_end[text[last]]].strip()
        if words:
            candidates.append(Candidate(words, float(starts[first]), float(ends[last])))
    return candidates


def _best_spans(starts: Scores, ends: Scores, most: int, max_length: int) -> list[tuple[int, int]]:
    """Return the first and last token of the spans with the highest sums, of equals the first, best first.

    >>> _best_spans(np.array([1.0, 3.0, 2.0]), np.array([5.0, 0.0, 2.0]), 2, 2)
    [(0, 0), (1, 2)]
    """
    behind = np.concatenate([ends, np.full(max_length - 1, -np.inf)])
    if not len(starts):
        return []
    sums = (starts[:, None] + sliding_window_view(behind, max_length)).ravel()  # (tokens * lengths,)
    best = np.argpartition(-sums, most)[:most] if most < len(sums) else np.arange(len(sums))
    best = best[np.isfinite(sums[best])]
    return [
        (index // max_length, index // max_length + index % max_length)
        for index in sorted(best.tolist(), key=lambda index: (-sums[index], index))
    ]


def _answered(found: list[Candidate], at_cls: Scores, n_best_size: int) -> AnsweredQuestion:
    """Return the answer to a question from the candidates and the scores of [CLS], (windows, 2 or 3)."""
    unique = {candidate.text: candidate for candidate in sorted(found, key=lambda candidate: candidate.score)}
    candidates = sorted(unique.values(), key=lambda candidate: -candidate.score)[:n_best_size]
    start, end = at_cls[at_cls[:, :2].sum(axis=1).argmin(), :2].tolist()
    no_answer = Candidate("", start, end)
    if at_cls.shape[1] > 2:
        odds = float(at_cls[:, 2].min())
    else:
        odds = no_answer.score - (candidates[0].score if candidates else 0.0)
    return AnsweredQuestion(candidates, no_answer, odds)


def n_best_entries(answer: AnsweredQuestion, n_best_size: int, may_be_none: bool) -> list[dict[str, str | float]]:
    """Return the entries of nbest_predictions.json for one question, best first, with probabilities among them.

    Args:
        answer: The answer.
        n_best_size: Most candidates.
        may_be_none: Whether no answer is one of the candidates, as in SQuAD 2.0.
    """
    entries = sorted([*answer.candidates, *[answer.no_answer] * may_be_none], key=lambda each: -each.score)
    entries = entries[:n_best_size] or [Candidate("", 0.0, 0.0)]
    if may_be_none and answer.no_answer not in entries:
        entries.append(answer.no_answer)
    scores = np.array([entry.score for entry in entries])
    shares = np.exp(scores - scores.max())
    return [
        {"text": entry.text, "probability": share, "start_logit": entry.start_score, "end_logit": entry.end_score}
        for entry, share in zip(entries, (shares / shares.sum()).tolist(), strict=True)
    ]


def write_answers(
    folder: Path,
    questions: Sequence[Question],
    answers: Sequence[AnsweredQuestion],
    n_best_size: int,
    threshold: float | None,
    prefix: str = "",
) -> None:
    """Write predictions.json and nbest_predictions.json, and null_odds.json for SQuAD 2.0.

    Args:
        folder: An existing folder.
        questions: The questions.
        answers: Their answers.
        n_best_size: Most candidates of a question.
        threshold: Null odds above which there is no answer; None for SQuAD 1.1, in which every question has one.
        prefix: Begin of the names of the files.
    """
    named = {question.identifier: answer for question, answer in zip(questions, answers, strict=True)}
    is_v2 = threshold is not None
    files: dict[str, Mapping[str, object]] = {
        PREDICTIONS: {name: answer.text(threshold) for name, answer in named.items()},
        N_BEST: {name: n_best_entries(answer, n_best_size, is_v2) for name, answer in named.items()},
    }
    if is_v2:
        files[NULL_ODDS] = {name: answer.null_odds for name, answer in named.items()}
    for name, content in files.items():
        (folder / f"{prefix}{name}").write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
