"""Losses and metrics as sums and counts on the device, read and reduced over the ranks only when they are logged.

A mean over a window of steps or a validation pass is the sum over all its predictions divided by their number, never
a mean of means.
"""

from collections.abc import Mapping
from math import exp, isnan, nan

import torch
from torch import Tensor

from bert_lightning.distributed.collectives import sum_over_ranks, world_size
from bert_lightning.objectives.objective import Quantity

LARGEST_EXPONENT = 50.0


class MetricSums:
    """This rank's sums of an objective's quantities, and what each sum is divided by for a mean.

    Args:
        quantities: What every sum means, by name.
        device: Where the sums are kept.
    """

    def __init__(self, quantities: Mapping[str, Quantity], device: torch.device) -> None:
        self._quantities = quantities
        self._sums = torch.zeros(2 * len(quantities), dtype=torch.float64, device=device)  # sums, then counts

    def add(self, sums: Mapping[str, Tensor], counts: Tensor, skipped: Tensor | None = None) -> None:
        """Add one step.

        Args:
            sums: Sum of each quantity over this rank's predictions, scalars.
            counts: Count of each quantity on this rank, in the order of the quantities, (quantities,).
            skipped: Whether the step counts for nothing, because its sums may not be finite; scalar.
        """
        values = torch.stack([sums[name].detach() for name in self._quantities])
        step = torch.cat([values.double(), counts.double()])
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
        """Return the means over all ranks, the loss and perplexities; all ranks must call it.

        A quantity that nothing was counted for is NaN, and the loss leaves it out.
        """
        total = sum_over_ranks(self._sums.clone()) if world_size() > 1 else self._sums
        sums, counts = total.view(2, -1).tolist()
        means = {
            name: value / count if count else nan
            for name, value, count in zip(self._quantities, sums, counts, strict=True)
        }
        known = {name: quantity for name, quantity in self._quantities.items() if not isnan(means[name])}
        losses = [quantity.loss_weight * means[name] for name, quantity in known.items() if quantity.loss_weight]
        perplexities = {
            quantity.perplexity: exp(min(means[name], LARGEST_EXPONENT))
            for name, quantity in known.items()
            if quantity.perplexity
        }
        return {"loss": sum(losses) if losses else nan, **means, **perplexities}

    def state_dict(self) -> dict[str, object]:
        """Return the sums of this rank; call `gather` first and save those of the first rank."""
        return {"names": list(self._quantities), "sums": self._sums.cpu()}

    def load_state_dict(self, state: Mapping[str, object], is_first_rank: bool) -> None:
        """Take the saved sums on the first rank, zeros on the others.

        The mean of a quantity that was not saved is NaN until the next window, because its first steps are missing.
        """
        saved, names = state["sums"], state["names"]
        assert isinstance(saved, Tensor)
        assert isinstance(names, list)
        self.reset()
        if not is_first_rank or not names:
            return
        columns = dict(zip(names, saved.view(2, -1).unbind(1), strict=True))
        absent = torch.full((2,), nan if saved.any() else 0.0, dtype=torch.float64)
        kept = [columns.get(name, absent) for name in self._quantities]
        self._sums = torch.stack(kept, dim=1).flatten().to(self._sums.device)  # (2 * quantities,)
