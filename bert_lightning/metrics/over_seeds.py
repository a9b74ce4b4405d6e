"""A metric over seeds: its mean, its spread, and what differs from another setting with the same seeds."""

import statistics
from collections.abc import Mapping
from typing import Any

SeedValues = Mapping[str, float]
"""Value of a metric by seed, the seed as text, as JSON has it."""


def over_seeds(values: SeedValues) -> dict[str, Any]:
    """Return mean, standard deviation and values of a metric over seeds.

    The standard deviation is that of a sample, and None for one seed.

    >>> over_seeds({"0": 1.0, "1": 3.0})
    {'mean': 2.0, 'standard_deviation': 1.4142135623730951, 'values': {'0': 1.0, '1': 3.0}}
    """
    listed = list(values.values())
    return {
        "mean": statistics.fmean(listed),
        "standard_deviation": statistics.stdev(listed) if len(listed) > 1 else None,
        "values": dict(values),
    }


def paired_differences(values: SeedValues, reference: SeedValues) -> dict[str, Any] | None:
    """Return mean, standard deviation and values of the differences from a reference, seed by seed.

    Runs of one seed share the order of the data and the first weights, so the spread of their differences is smaller
    than that of the values.

    >>> paired_differences({"0": 1.5, "1": 2.5, "2": 9.0}, {"0": 1.0, "1": 2.0})
    {'mean': 0.5, 'standard_deviation': 0.0, 'values': {'0': 0.5, '1': 0.5}}

    Returns:
        The differences over the seeds that both have; None if they share no seed.
    """
    shared = {seed: value - reference[seed] for seed, value in values.items() if seed in reference}
    return over_seeds(shared) if shared else None


def mean_and_spread(metric: Mapping[str, Any], digits: int = 4, signed: bool = False) -> str:
    """Return a metric over seeds as text.

    >>> mean_and_spread(over_seeds({"0": 1.0, "1": 3.0}), digits=2)
    '2.00 ± 1.41'
    >>> mean_and_spread(over_seeds({"0": 0.5}), signed=True)
    '+0.5000'

    Args:
        metric: What `over_seeds` returns.
        digits: Digits behind the point.
        signed: Whether a mean above 0 gets a sign, as a difference does.
    """
    spread = metric["standard_deviation"]
    mean = f"{metric['mean']:{'+' if signed else ''}.{digits}f}"
    return mean if spread is None else f"{mean} ± {spread:.{digits}f}"
