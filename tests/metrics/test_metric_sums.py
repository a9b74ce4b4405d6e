"""Means are sums over counts, whatever the steps were cut into."""

import math

import pytest
import torch

from bert_lightning.metrics.metric_sums import MetricSums
from bert_lightning.objectives.objective import Quantity

QUANTITIES = {
    "mlm_loss": Quantity("mlm", loss_weight=1.0, perplexity="perplexity"),
    "nsp_loss": Quantity("nsp", loss_weight=0.5),
    "mlm_accuracy": Quantity("mlm"),
}
CPU = torch.device("cpu")


def step(mlm: float, nsp: float, right: float) -> dict[str, torch.Tensor]:
    return {"mlm_loss": torch.tensor(mlm), "nsp_loss": torch.tensor(nsp), "mlm_accuracy": torch.tensor(right)}


def test_a_window_is_never_a_mean_of_means() -> None:
    sums = MetricSums(QUANTITIES, CPU)
    sums.add(step(10.0, 2.0, 1.0), torch.tensor([2, 4, 2]))
    sums.add(step(5.0, 1.0, 0.0), torch.tensor([8, 4, 8]))
    means = sums.means()
    assert means["mlm_loss"] == pytest.approx(1.5)
    assert means["mlm_accuracy"] == pytest.approx(0.1)
    assert means["loss"] == pytest.approx(1.5 + 0.5 * 3 / 8)
    assert means["perplexity"] == pytest.approx(math.exp(1.5))


def test_a_skipped_step_counts_for_nothing() -> None:
    sums = MetricSums(QUANTITIES, CPU)
    sums.add(step(10.0, 2.0, 1.0), torch.tensor([2, 4, 2]), torch.tensor(False))
    before = sums.means()
    sums.add(step(math.nan, math.inf, 1.0), torch.tensor([2, 4, 2]), torch.tensor(True))
    assert sums.means() == before


def test_a_quantity_without_labels_is_left_out_of_the_total() -> None:
    sums = MetricSums(QUANTITIES, CPU)
    sums.add(step(6.0, 0.0, 1.0), torch.tensor([3, 0, 3]))
    means = sums.means()
    assert means["loss"] == pytest.approx(2.0)
    assert math.isnan(means["nsp_loss"])


def test_the_state_goes_on_where_it_was_saved() -> None:
    sums, loaded, other = (MetricSums(QUANTITIES, CPU) for _ in range(3))
    sums.add(step(10.0, 2.0, 1.0), torch.tensor([2, 4, 2]))
    loaded.load_state_dict(sums.state_dict(), is_first_rank=True)
    other.load_state_dict(sums.state_dict(), is_first_rank=False)
    for target in (sums, loaded):
        target.add(step(1.0, 1.0, 1.0), torch.tensor([1, 1, 1]))
    assert loaded.means() == sums.means()
    assert math.isnan(other.means()["loss"])
    sums.reset()
    assert math.isnan(sums.means()["mlm_loss"])


def test_sums_saved_under_fewer_names_go_on_under_theirs() -> None:
    """A checkpoint from before a quantity existed resumes; the new quantity is unknown until its first whole window."""
    saved = MetricSums({name: QUANTITIES[name] for name in ("nsp_loss", "mlm_loss")}, CPU)
    saved.add(step(10.0, 2.0, 0.0), torch.tensor([4, 2]))
    loaded = MetricSums(QUANTITIES, CPU)
    loaded.load_state_dict(saved.state_dict(), is_first_rank=True)
    means = loaded.means()
    assert (means["nsp_loss"], means["mlm_loss"]) == (0.5, 5.0)
    loaded.add(step(1.0, 1.0, 1.0), torch.tensor([1, 1, 1]))
    assert loaded.means()["mlm_loss"] == pytest.approx(11 / 3)
    assert math.isnan(loaded.means()["mlm_accuracy"])  # its first steps were not counted
    loaded.reset()
    loaded.add(step(1.0, 1.0, 1.0), torch.tensor([1, 1, 2]))
    assert loaded.means()["mlm_accuracy"] == 0.5


def test_sums_saved_at_the_begin_of_a_window_lack_nothing() -> None:
    saved = MetricSums({"nsp_loss": QUANTITIES["nsp_loss"]}, CPU)
    loaded = MetricSums(QUANTITIES, CPU)
    loaded.load_state_dict(saved.state_dict(), is_first_rank=True)
    loaded.add(step(1.0, 1.0, 1.0), torch.tensor([1, 1, 2]))
    assert loaded.means()["mlm_accuracy"] == 0.5
