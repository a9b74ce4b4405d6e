"""The metrics of GLUE (Wang et al., 2019) and a few more; most are those of torchmetrics.

Each takes predictions and right answers of all examples. A correlation that is not defined, because all predictions are
the same, counts as 0. Sets may be of one class, which the checks of torchmetrics would refuse; they are left out.
"""

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef
from torchmetrics.functional.classification import (
    binary_f1_score,
    multiclass_f1_score,
    multilabel_exact_match,
    multilabel_f1_score,
)

Metric = Callable[[Tensor, Tensor], float]
"""Function of predictions and right answers."""


def _num_classes(predicted: Tensor, wanted: Tensor) -> int:
    return max(2, int(torch.cat([predicted, wanted]).max()) + 1)


def accuracy(predicted: Tensor, wanted: Tensor) -> float:
    """Return the share of right answers; classes are numbers, (examples,)."""
    return (predicted == wanted).double().mean().item()


def f1(predicted: Tensor, wanted: Tensor) -> float:
    """Return F1 of class 1 against class 0."""
    return binary_f1_score(predicted, wanted).double().item()


def macro_f1(predicted: Tensor, wanted: Tensor) -> float:
    """Return the mean of the F1 of all classes."""
    return multiclass_f1_score(predicted, wanted, _num_classes(predicted, wanted), average="macro").double().item()


def matthews(predicted: Tensor, wanted: Tensor) -> float:
    """Return Matthews' correlation for any number of classes (Gorodkin, 2004), 0 if only one class is predicted.

    The metric of torchmetrics 1.9 gives other values than scikit-learn, which GLUE takes, if one class is missing.
    """
    size = _num_classes(predicted, wanted)
    times_predicted, times_wanted = (torch.bincount(each, minlength=size).double() for each in (predicted, wanted))
    number, right = len(wanted), (predicted == wanted).sum().double()
    covariance = right * number - times_predicted @ times_wanted
    variances = (number**2 - times_predicted.square().sum()) * (number**2 - times_wanted.square().sum())
    return (covariance / variances.sqrt()).item() if variances > 0 else 0.0


def pearson(predicted: Tensor, wanted: Tensor) -> float:
    """Return Pearson's correlation of numbers, (examples,)."""
    return _or_zero(pearson_corrcoef(predicted.double(), wanted.double())) if predicted.std() > 0 else 0.0


def spearman(predicted: Tensor, wanted: Tensor) -> float:
    """Return Spearman's rank correlation of numbers, (examples,)."""
    return _or_zero(spearman_corrcoef(predicted.double(), wanted.double())) if predicted.std() > 0 else 0.0


def squared_error(predicted: Tensor, wanted: Tensor) -> float:
    """Return the mean squared error of numbers, (examples,)."""
    return (predicted.double() - wanted.double()).square().mean().item()


def exact_match(predicted: Tensor, wanted: Tensor) -> float:
    """Return the share of examples with exactly the right classes, (examples, classes) of 0 and 1."""
    return multilabel_exact_match(predicted, wanted, wanted.shape[1], validate_args=False).double().item()


def micro_f1_of_sets(predicted: Tensor, wanted: Tensor) -> float:
    """Return F1 over all decisions, (examples, classes) of 0 and 1."""
    return multilabel_f1_score(predicted, wanted, wanted.shape[1], average="micro", validate_args=False).double().item()


def macro_f1_of_sets(predicted: Tensor, wanted: Tensor) -> float:
    """Return the mean of the F1 of all classes, (examples, classes) of 0 and 1."""
    return multilabel_f1_score(predicted, wanted, wanted.shape[1], average="macro", validate_args=False).double().item()


def _or_zero(value: Tensor) -> float:
    number = value.double().item()
    return 0.0 if math.isnan(number) else number


CLASS_METRICS: dict[str, Metric] = {"accuracy": accuracy, "f1": f1, "macro_f1": macro_f1, "matthews": matthews}
NUMBER_METRICS: dict[str, Metric] = {"pearson": pearson, "spearman": spearman, "squared_error": squared_error}
SET_METRICS: dict[str, Metric] = {
    "exact_match": exact_match,
    "micro_f1": micro_f1_of_sets,
    "macro_f1": macro_f1_of_sets,
}
LOWEST_IS_BEST = {"squared_error"}
"""Metrics of which the lowest value is the best."""


def check_metrics(wanted: Collection[str], chosen_by: str, known: Collection[str]) -> None:
    """Raise a ValueError if a metric is not known, or the one that decides is not measured."""
    for name in wanted:
        if name not in known:
            raise ValueError(f"task.metrics must be some of {', '.join(known)}; got {name}")
    if chosen_by not in wanted:
        raise ValueError(f"task.chosen_by must be one of task.metrics={', '.join(wanted)}; got {chosen_by}")
