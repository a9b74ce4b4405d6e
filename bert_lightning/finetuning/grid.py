"""The paper's search: every learning rate with every batch size, the best one chosen on the validation split."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from rich.table import Table

from bert_lightning.finetuning.score_files import SeedScores
from data_pipeline.whole_numbers import check_whole_number

Results = Mapping[str, Mapping[str, SeedScores]]
"""Scores of each seed by its folder, by the name of the point."""


def grid_points(rates: Sequence[Any], batch_sizes: Sequence[Any]) -> dict[str, tuple[float, int]]:
    """Return learning rate and batch size of every point, by its name (Devlin et al., 2019, appendix A.3).

    >>> list(grid_points([2e-5, 5e-5], [16]))
    ['lr-2e-05_batch-16', 'lr-5e-05_batch-16']

    Raises:
        ValueError: if a value is none, or there are none.
    """
    for name, values in (("grid_lr", rates), ("grid_batch_size", batch_sizes)):
        if isinstance(values, str | int | float | None) or not values:
            raise ValueError(f"{name} must be a list of numbers; got {values}")
    for rate in rates:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
            raise ValueError(f"grid_lr must be a list of numbers above 0; got {rate}")
    for size in batch_sizes:
        check_whole_number("grid_batch_size", size)
    return {f"lr-{rate:g}_batch-{size}": (float(rate), size) for rate, size in product(rates, batch_sizes)}


def mean_score(seeds: Mapping[str, SeedScores]) -> float:
    """Return the mean over seeds of the metric that everything is chosen by."""
    return statistics.fmean(each.metrics[each.chosen_by] for each in seeds.values())


def winner(results: Results) -> str:
    """Return the point with the best mean, the first of equals."""
    first = next(iter(next(iter(results.values())).values()))
    sign = 1 if first.highest_is_best else -1
    return max(results, key=lambda point: sign * mean_score(results[point]))


def grid_table(results: Results, diverged: Sequence[str] = ()) -> Table:
    """Return the mean of every point as a table; a star marks the winner, and points that diverged have no mean."""
    chosen_by = next(iter(next(iter(results.values())).values())).chosen_by
    table, best = Table("point", chosen_by, "", title="grid"), winner(results)
    for point, seeds in results.items():
        table.add_row(point, f"{mean_score(seeds):.4f}", "*" if point == best else "")
    for point in diverged:
        table.add_row(point, "diverged", "")
    return table
