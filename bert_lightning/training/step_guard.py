"""Count updates that were skipped because a loss or a gradient was not finite, without waiting for the device."""

from collections.abc import Mapping
from math import nan

import torch
from torch import Tensor


def poison(loss: Tensor) -> Tensor:
    """Return the gradient to start a backward pass with: 1, or NaN where the loss is not finite.

    An infinite loss can have finite gradients. NaN makes them all NaN, and the reduction over the ranks carries it to
    every rank, so all of them skip the update without a message of their own.
    """
    return torch.where(torch.isfinite(loss.detach()), 1.0, nan).to(loss.dtype)


class NotFiniteError(ValueError):
    """Too many steps in a row had a loss or gradients that are not finite; steps are counted from 1."""

    def __init__(self, first_step: int, last_step: int, max_skipped_steps: int) -> None:
        super().__init__(
            f"the loss or its gradients were not finite in steps {first_step} to {last_step} "
            f"(max_skipped_steps={max_skipped_steps})"
        )
        self.first_step = first_step
        self.last_step = last_step


class StepGuard:
    """Gradient norms and skipped steps, the same on every rank.

    Args:
        max_skipped_steps: Skipped steps in a row that end the run.
        device: Where the counts are kept.
    """

    def __init__(self, max_skipped_steps: int, device: torch.device) -> None:
        self.max_skipped_steps = max_skipped_steps
        # Sum of norms and number of updates since the last reading; skipped steps of the run, in a row now, most in a
        # row since the last reading; steps since then, and how many those were when the most in a row was reached.
        self._state = torch.zeros(7, dtype=torch.float64, device=device)

    def add(self, norm: Tensor, skipped: Tensor) -> None:
        """Count one step with the norm of its gradients; both scalars on the device."""
        skip = skipped.double()
        norms, updates, total, run, longest, steps, end = self._state.unbind()
        run, steps = (run + 1) * skip, steps + 1
        finite = torch.where(skipped, 0.0, norm.double())
        end = torch.where(run > longest, steps, end)
        longest = torch.maximum(longest, run)
        self._state = torch.stack([norms + finite, updates + 1 - skip, total + skip, run, longest, steps, end])

    def read(self, step: int) -> dict[str, float]:
        """Return the mean gradient norm since the last reading and the skipped steps of the run.

        Raises:
            NotFiniteError: where too many steps in a row were skipped, on every rank alike.
        """
        norms, updates, total, run, longest, steps, end = self._state.tolist()
        if longest >= self.max_skipped_steps:
            last = step - int(steps - end)
            raise NotFiniteError(last - int(longest) + 1, last, self.max_skipped_steps)
        self._state = torch.zeros_like(self._state)
        self._state[2:5] = torch.tensor([total, run, run], dtype=torch.float64)
        return {"optim/grad_norm": norms / updates if updates else nan, "train/skipped_steps": total}

    def state_dict(self) -> dict[str, object]:
        """Return the counts, which are the same on every rank."""
        return {"counts": self._state.cpu()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take saved counts."""
        counts = state["counts"]
        assert isinstance(counts, Tensor)
        self._state = counts.to(self._state.device)
