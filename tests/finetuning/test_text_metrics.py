"""The metrics of texts equal those of scikit-learn and scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sklearn_metrics

from bert_lightning.finetuning.text_metrics import CLASS_METRICS, NUMBER_METRICS, SET_METRICS, check_metrics


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("size", [7, 500])
def test_metrics_of_classes_are_those_of_scikit_learn(num_classes: int, size: int) -> None:
    numbers = np.random.default_rng(size)
    wanted = numbers.integers(0, num_classes, size=size)
    predicted = np.where(numbers.random(size) < 0.6, wanted, numbers.integers(0, num_classes, size=size))
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(wanted, predicted),
        "macro_f1": sklearn_metrics.f1_score(wanted, predicted, average="macro"),
        "matthews": sklearn_metrics.matthews_corrcoef(wanted, predicted),
    }
    if num_classes == 2:
        expected["f1"] = sklearn_metrics.f1_score(wanted, predicted)
    for name, value in expected.items():
        found = CLASS_METRICS[name](torch.from_numpy(predicted), torch.from_numpy(wanted))
        assert found == pytest.approx(value, abs=1e-6), name


def test_metrics_of_numbers_are_those_of_scipy() -> None:
    numbers = np.random.default_rng(0)
    wanted = np.round(numbers.random(300) * 5, 1).astype(np.float32)  # with ties
    predicted = (wanted + numbers.normal(size=300)).astype(np.float32)
    expected = {
        "pearson": pearsonr(wanted.astype(float), predicted.astype(float)).statistic,
        "spearman": spearmanr(wanted, predicted).statistic,
        "squared_error": sklearn_metrics.mean_squared_error(wanted.astype(float), predicted.astype(float)),
    }
    for name, value in expected.items():
        found = NUMBER_METRICS[name](torch.from_numpy(predicted), torch.from_numpy(wanted))
        assert found == pytest.approx(value, abs=1e-6), name


def test_metrics_of_sets_are_those_of_scikit_learn() -> None:
    numbers = np.random.default_rng(0)
    wanted = numbers.integers(0, 2, size=(80, 4))
    predicted = np.where(numbers.random(wanted.shape) < 0.8, wanted, 1 - wanted)
    expected = {
        "exact_match": sklearn_metrics.accuracy_score(wanted, predicted),
        "micro_f1": sklearn_metrics.f1_score(wanted, predicted, average="micro"),
        "macro_f1": sklearn_metrics.f1_score(wanted, predicted, average="macro"),
    }
    for name, value in expected.items():
        found = SET_METRICS[name](torch.from_numpy(predicted), torch.from_numpy(wanted))
        assert found == pytest.approx(value, abs=1e-6), name


def test_a_constant_prediction_correlates_with_nothing() -> None:
    wanted, constant = torch.tensor([0, 1, 1, 0]), torch.zeros(4, dtype=torch.int64)
    assert CLASS_METRICS["matthews"](constant, wanted) == 0.0
    assert CLASS_METRICS["f1"](constant, wanted) == 0.0
    assert NUMBER_METRICS["pearson"](constant.float(), wanted.float()) == 0.0
    assert NUMBER_METRICS["spearman"](constant.float(), wanted.float()) == 0.0


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(ValueError, match=r"task\.metrics must be some of accuracy, f1"):
        check_metrics(["accuracy", "bleu"], "accuracy", CLASS_METRICS)
    with pytest.raises(ValueError, match=r"task\.chosen_by must be one of task.metrics=accuracy; got f1"):
        check_metrics(["accuracy"], "f1", CLASS_METRICS)
