"""Whether two models differ: a bootstrap over examples, the same for both models, and over the seeds of each.

Drawing examples alone says whether these two trained models differ on text like this; drawing seeds besides says
whether the two ways to train differ (Sellam et al., 2022, the Multi-Bootstrap).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bert_lightning.comparisons.resampled_metrics import Resampled, Values

MOST_COUNTS = 1 << 22
"""Most numbers of a table of counts in memory."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much a metric of two models differs.

    Attributes:
        first: Mean over the seeds of the first model.
        second: Mean over the seeds of the second model.
        low: Lower end of the interval of `second - first`.
        high: Upper end.
        p: Twice the share of the resamples on the rarer side of 0, for the hypothesis that nothing differs.
    """

    first: float
    second: float
    low: float
    high: float
    p: float

    @property
    def value(self) -> float:
        """How much higher the second model is."""
        return self.second - self.first


def paired_bootstrap(
    first: Sequence[Resampled],
    second: Sequence[Resampled],
    num_examples: int,
    metrics: Sequence[str],
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return the difference of every metric, by its name.

    Args:
        first: The metrics of each seed of the first model.
        second: Those of the second model, over the same examples in the same order.
        num_examples: Number of examples.
        metrics: Names of the metrics.
        resamples: Number of resamples.
        confidence: Share of the resamples inside the interval.
        seed: Seed of the draws.
    """
    once = np.ones((1, num_examples))
    means = [{name: np.mean([one(once)[name] for one in model]) for name in metrics} for model in (first, second)]
    drawn: dict[str, list[Values]] = {name: [] for name in metrics}
    generator = np.random.default_rng(seed)
    for counts in _draws(generator, num_examples, resamples):
        ends = [_mean_of_drawn_seeds(generator, model, counts, metrics) for model in (first, second)]
        for name in metrics:
            drawn[name].append(ends[1][name] - ends[0][name])
    tail = (1 - confidence) / 2
    differences = {}
    for name in metrics:
        values = np.concatenate(drawn[name])
        low, high = np.quantile(values, [tail, 1 - tail]).tolist()
        rarer = min((values <= 0).sum(), (values >= 0).sum()).item()
        p = min(1.0, 2 * (rarer + 1) / (resamples + 1))
        differences[name] = Difference(means[0][name].item(), means[1][name].item(), low, high, p)
    return differences


def _draws(generator: np.random.Generator, num_examples: int, resamples: int) -> Iterator[Values]:
    """Yield how often each example is drawn, (some resamples, examples), until there are all resamples."""
    most = max(1, MOST_COUNTS // num_examples)
    for begin in range(0, resamples, most):
        yield _counts(generator, min(most, resamples - begin), num_examples)


def _counts(generator: np.random.Generator, rows: int, size: int) -> Values:
    """Return how often each of `size` things is drawn in `size` draws with replacement, (rows, size)."""
    drawn = generator.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def _mean_of_drawn_seeds(
    generator: np.random.Generator, model: Sequence[Resampled], counts: Values, metrics: Sequence[str]
) -> Mapping[str, Values]:
    """Return the mean of every metric over seeds that are drawn with replacement, (resamples,) each."""
    weights = _counts(generator, len(counts), len(model)) / len(model)  # (resamples, seeds)
    of_seeds = [each(counts) for each in model]
    return {name: (weights * np.stack([each[name] for each in of_seeds], axis=1)).sum(1) for name in metrics}
