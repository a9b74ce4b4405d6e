"""Losses and metrics as sums and counts on the device, read and reduced over the ranks only when they are logged.

A mean over a window of steps or a validation pass is the sum over all its predictions divided by their number, never
a mean of means.
"""

from collections.abc import Mapping
from math import exp, nan

import torch
from torch import Tensor

from bert_lightning.distributed.collectives import sum_over_ranks, world_size

LARGEST_EXPONENT = 50.0


class MetricSums:
    """This rank's sums of named quantities and the numbers of predictions they are sums over.

    Args:
        loss_weights: What each loss is multiplied by in the total; the other quantities are metrics.
        device: Where the sums are kept.
    """

    def __init__(self, loss_weights: Mapping[str, float], device: torch.device) -> None:
        self.loss_weights = loss_weights
        self._device = device
        self._names: list[str] = []
        self._sums = torch.zeros(0, dtype=torch.float64, device=device)  # sums, then counts: (2 * names,)

    def add(self, sums: Mapping[str, Tensor], counts: Tensor, skipped: Tensor | None = None) -> None:
        """Add one step.

        Args:
            sums: Sum of each quantity over this rank's predictions, scalars.
            counts: Number of this rank's predictions of each, in the order of `sums`, (names,).
            skipped: Where true, the step counts for nothing: its sums may not be finite. Scalar.
        """
        if not self._names:
            self._names = list(sums)
            self._sums = torch.zeros(2 * len(sums), dtype=torch.float64, device=self._device)
        step = torch.cat([torch.stack([value.detach() for value in sums.values()]).double(), counts.double()])
        if skipped is not None:
            step = torch.where(skipped, torch.zeros_like(step), step)
        self._sums += step

    def gather(self, is_first_rank: bool) -> None:
        """Move the sums of all ranks to the first; all ranks must call it."""
        total = sum_over_ranks(self._sums.clone())
        self._sums = total if is_first_rank else torch.zeros_like(total)

    def reset(self) -> None:
        """Begin a new window."""
        self._sums = torch.zeros_like(self._sums)

    def means(self) -> dict[str, float]:
        """Return the means over all ranks, the total loss and the perplexity; all ranks must call it."""
        if not self._names:
            return {}
        total = sum_over_ranks(self._sums.clone()) if world_size() > 1 else self._sums
        values = total.tolist()
        counts = values[len(self._names) :]
        means = {name: values[i] / counts[i] if counts[i] else nan for i, name in enumerate(self._names)}
        # A quantity the data has no labels for (NSP on single segments) is left out instead of making the total NaN.
        labelled = {name for i, name in enumerate(self._names) if counts[i]}
        weights = {name: weight for name, weight in self.loss_weights.items() if name in labelled}
        loss = sum(weight * means[name] for name, weight in weights.items()) if weights else nan
        perplexity = {"perplexity": exp(min(means["mlm_loss"], LARGEST_EXPONENT))} if "mlm_loss" in labelled else {}
        return {"loss": loss, **means, **perplexity}

    def state_dict(self) -> dict[str, object]:
        """Return the sums of this rank; call `gather` first and save those of the first rank."""
        return {"names": list(self._names), "sums": self._sums.cpu()}

    def load_state_dict(self, state: Mapping[str, object], is_first_rank: bool) -> None:
        """Take the saved sums on the first rank, zeros on the others."""
        saved, names = state["sums"], state["names"]
        assert isinstance(saved, Tensor)
        assert isinstance(names, list)
        self._names = names
        self._sums = (saved if is_first_rank else torch.zeros_like(saved)).to(self._device)
