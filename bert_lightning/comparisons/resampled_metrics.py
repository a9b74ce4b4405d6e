"""The metrics of fine-tuning over resamples of the examples: how often each example was drawn -> the values.

Nearly every metric is a function of sums over examples, so thousands of resamples are one product of matrices. Drawn
once each, the examples give the value that `bert-finetune` has written.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_lightning.comparisons.kept_predictions import Lines, SeedPredictions
from bert_lightning.finetuning.entity_metrics import entities
from bert_lightning.finetuning.squad_metrics import AnswerScores, score_spans
from data_pipeline.untrusted.typed_fields import shown

Values = NDArray[np.float64]
Resampled = Callable[[Values], dict[str, Values]]
"""Function from the counts of the examples, (resamples, examples), to the metrics by name, (resamples,) each."""
TOLERANCE = 1e-4
"""Most that a metric may differ from the one in scores.json, which may have been computed in fp32."""


def resampled_metrics(lines: Lines, where: str) -> Resampled:
    """Return the metrics that fit the lines of a file of predictions.

    Args:
        lines: The lines, at least one.
        where: The file, for errors.

    Raises:
        ValueError: if the lines are not those of `bert-finetune`.
    """
    first = lines[0]
    try:
        if "exact_match" in first:
            return _of_answers(lines)
        if "words" in first:
            return _of_tags(lines)
        kinds = {str: _of_classes, list: _of_sets, float: _of_numbers, int: _of_choices}
        return kinds[type(first["label"])](lines)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where} holds no predictions of bert-finetune, such as {shown(first)}") from error


def checked_metrics(seed: SeedPredictions) -> tuple[list[str], Resampled]:
    """Return the names of the metrics of a seed that can be resampled, and the metrics; thresholds are none.

    Raises:
        ValueError: if the predictions do not give the scores that the training has written.
    """
    function = resampled_metrics(seed.lines, str(seed.path))
    values = {name: value.item() for name, value in function(np.ones((1, len(seed.lines)))).items()}
    names = [name for name in seed.metrics if name in values]
    for name in names:
        if abs(values[name] - seed.metrics[name]) > TOLERANCE:
            raise ValueError(
                f"{seed.path} gives {name}={values[name]:.6f}, but scores.json beside it has {seed.metrics[name]:.6f}"
            )
    return names, function


def _of_classes(lines: Lines) -> Resampled:
    names = sorted({line["label"] for line in lines} | {line["prediction"] for line in lines})
    wanted, predicted = (_one_hot([line[key] for line in lines], names) for key in ("label", "prediction"))
    both = wanted * predicted
    second = names.index(_second_class(lines, names)) if len(names) == 2 else None

    def metrics(counts: Values) -> dict[str, Values]:
        right, said, true = counts @ both, counts @ predicted, counts @ wanted  # (resamples, classes)
        f1 = _ratio(2 * right, said + true)
        times_drawn = counts.sum(1)
        covariance = right.sum(1) * times_drawn - (said * true).sum(1)
        variances = [times_drawn**2 - (each**2).sum(1) for each in (said, true)]
        return {
            "accuracy": right.sum(1) / times_drawn,
            "macro_f1": _ratio(f1.sum(1), (said + true > 0).sum(1)),
            "matthews": _ratio(covariance, np.sqrt(variances[0] * variances[1])),
        } | ({} if second is None else {"f1": f1[:, second]})

    return metrics


def _second_class(lines: Lines, names: list[str]) -> str:
    """Return the name of class 1 of two: what is predicted where the second score is the higher one."""
    for line in lines:
        number = int(np.argmax(line["scores"]))
        if number == 1:
            return line["prediction"]
    return next(name for name in names if name != lines[0]["prediction"])


def _of_sets(lines: Lines) -> Resampled:
    size = len(lines[0]["scores"])
    names = sorted({name for line in lines for key in ("label", "prediction") for name in line[key]})
    wanted, predicted = (
        np.array([[name in line[key] for name in names] for line in lines], dtype=np.float64).reshape(len(lines), -1)
        for key in ("label", "prediction")
    )
    both, is_exact = wanted * predicted, (wanted == predicted).all(1)

    def metrics(counts: Values) -> dict[str, Values]:
        right, chosen = counts @ both, counts @ (predicted + wanted)  # (resamples, classes)
        return {
            "exact_match": counts @ is_exact / counts.sum(1),
            "micro_f1": _ratio(2 * right.sum(1), chosen.sum(1)),
            "macro_f1": _ratio(2 * right, chosen).sum(1) / size,
        }

    return metrics


def _of_numbers(lines: Lines) -> Resampled:
    predicted, wanted = (np.array([line[key] for line in lines], dtype=np.float64) for key in ("prediction", "label"))
    ranked = [_Ranks(values) for values in (predicted, wanted)]
    errors = (predicted - wanted) ** 2

    def metrics(counts: Values) -> dict[str, Values]:
        return {
            "pearson": _correlation(predicted[None], wanted[None], counts),
            "spearman": _correlation(ranked[0](counts), ranked[1](counts), counts),
            "squared_error": counts @ errors / counts.sum(1),
        }

    return metrics


def _of_choices(lines: Lines) -> Resampled:
    is_right = np.array([line["prediction"] == line["label"] for line in lines])
    return lambda counts: {"accuracy": counts @ is_right / counts.sum(1)}


def _of_tags(lines: Lines) -> Resampled:
    sums = np.array([_tag_sums(line["prediction"], line["label"]) for line in lines], dtype=np.float64)

    def metrics(counts: Values) -> dict[str, Values]:
        words, right_words, predicted, true, both = (counts @ sums).T
        return {
            "accuracy": _ratio(right_words, words),
            "f1": _ratio(2 * both, predicted + true),
            "precision": _ratio(both, predicted),
            "recall": _ratio(both, true),
        }

    return metrics


def _tag_sums(predicted: list[str], right: list[str]) -> tuple[int, ...]:
    """Return the numbers of words, right words, predicted, true and rightly predicted entities of a sentence."""
    said, true = set(entities(predicted)), set(entities(right))
    num_right = sum(one == other for one, other in zip(predicted, right, strict=True))
    return len(right), num_right, len(said), len(true), len(said & true)


def _of_answers(lines: Lines) -> Resampled:
    exact, f1 = (np.array([line[name] for line in lines], dtype=np.float64) for name in ("exact_match", "f1"))
    has_answer = np.array([bool(line["label"]) for line in lines])
    spans = _best_spans(lines) if "null_odds" in lines[0] else None

    def metrics(counts: Values) -> dict[str, Values]:
        values = {}
        for name, scores in (("exact_match", exact), ("f1", f1)):
            values[name] = counts @ scores / counts.sum(1)
            for group, members in (("has_answer", has_answer), ("no_answer", ~has_answer)):
                values[f"{group}_{name}"] = _ratio(counts @ (scores * members), counts @ members)
        return values | ({} if spans is None else spans(counts))

    return metrics


def _best_spans(lines: Lines) -> Resampled:
    """Return the scores of SQuAD 2.0 with the best threshold, which every resample chooses anew."""
    odds = np.array([line["null_odds"] for line in lines], dtype=np.float64)
    scores: AnswerScores = score_spans([line["label"] for line in lines], [line["best_span"] for line in lines])
    order = np.argsort(odds, kind="stable")
    is_end = np.append(odds[order][1:] > odds[order][:-1], True)  # questions with equal odds are answered together

    def metrics(counts: Values) -> dict[str, Values]:
        times_drawn = counts.sum(1)
        silent = counts @ ~scores.has_answer / times_drawn
        drawn = counts[:, order]  # (resamples, questions), the most answerable first
        values = {}
        for name, each in (("best_exact_match", scores.exact), ("best_f1", scores.f1)):
            totals = np.cumsum(drawn * scores.gains(each)[order], axis=1)[:, is_end]
            values[name] = silent + np.maximum(totals.max(1), 0) / times_drawn
        return values

    return metrics


class _Ranks:
    """The ranks of numbers in resamples of them; equal numbers have the mean of their ranks, as for Spearman."""

    def __init__(self, values: Values) -> None:
        _, self._group = np.unique(values, return_inverse=True)  # (examples,)
        self._order = np.argsort(self._group, kind="stable")
        self._begins = np.searchsorted(self._group[self._order], np.arange(self._group.max() + 1))

    def __call__(self, counts: Values) -> Values:
        """Return the rank of each number in each resample, (resamples, examples)."""
        sizes = np.add.reduceat(counts[:, self._order], self._begins, axis=1)  # (resamples, different numbers)
        return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, self._group]


def _correlation(first: Values, second: Values, counts: Values) -> Values:
    """Return Pearson's correlation in each resample, (resamples,), 0 if it is not defined.

    Args:
        first: Numbers, (resamples or 1, examples).
        second: Numbers, (resamples or 1, examples).
        counts: How often each example was drawn, (resamples, examples).
    """
    times_drawn = counts.sum(1)
    centered = [each - ((counts * each).sum(1) / times_drawn)[:, None] for each in (first, second)]
    covariance = (counts * centered[0] * centered[1]).sum(1)
    variances = [(counts * each**2).sum(1) for each in centered]
    return _ratio(covariance, np.sqrt(variances[0] * variances[1]))


def _one_hot(values: list[str], names: list[str]) -> Values:
    columns = {name: column for column, name in enumerate(names)}
    return np.eye(len(names))[[columns[value] for value in values]]


def _ratio(over: Any, under: Any) -> Values:
    """Return a quotient, 0 if there is nothing to divide by."""
    return np.divide(over, under, out=np.zeros(np.shape(over)), where=under > 0)
