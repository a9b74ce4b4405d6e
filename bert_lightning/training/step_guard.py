"""Count updates that were skipped because a loss or a gradient was not finite, without waiting for the device."""

from collections.abc import Mapping
from math import nan

import torch
from torch import Tensor


def poison(loss: Tensor) -> Tensor:
    """Return the gradient to start a backward pass with: 1, or NaN if the loss is not finite.

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

    The state is seven numbers on the device, one scalar each: `norms`, the sum of the norms of updates since the last
    reading; `updates`, their number; `total`, the skipped steps of the run; `run`, the skipped steps in a row now;
    `longest`, the most in a row since the last reading; `steps`, the steps since then; and `end`, what `steps` was when
    `longest` was reached. With norms of 2, the steps "update, skip, skip, update" give
    norms=4, updates=2, total=2, run=0, longest=2, steps=4, end=3.

    Args:
        max_skipped_steps: Skipped steps in a row that end the run.
        device: Device that keeps the counts.
    """

    def __init__(self, max_skipped_steps: int, device: torch.device) -> None:
        self.max_skipped_steps = max_skipped_steps
        self._state = torch.zeros(7, dtype=torch.float64, device=device)

    def add(self, norm: Tensor, skipped: Tensor) -> None:
        """Count one step.

        Args:
            norm: Norm of the gradients, a scalar on the device.
            skipped: Whether the update is skipped, a boolean scalar on the device.
        """
        skip = skipped.double()
        norms, updates, total, run, longest, steps, end = self._state.unbind()
        run, steps = (run + 1) * skip, steps + 1  # an update ends the row of skipped steps
        finite = torch.where(skipped, 0.0, norm.double())
        end = torch.where(run > longest, steps, end)
        longest = torch.maximum(longest, run)
        self._state = torch.stack([norms + finite, updates + 1 - skip, total + skip, run, longest, steps, end])  # (7,)

    def read(self, step: int) -> dict[str, float]:
        """Return the mean gradient norm since the last reading and the skipped steps of the run.

        A row of skipped steps that is under way goes on into the next window: `run` and `longest` begin there with its
        length.

        Args:
            step: Steps of the run so far.

        Raises:
            NotFiniteError: if too many steps in a row were skipped, on every rank alike.
        """
        norms, updates, total, run, longest, steps, end = self._state.tolist()
        if longest >= self.max_skipped_steps:
            last = step - int(steps - end)
            raise NotFiniteError(last - int(longest) + 1, last, self.max_skipped_steps)
        kept = [0.0, 0.0, total, run, run, 0.0, 0.0]
        self._state = torch.tensor(kept, dtype=torch.float64).to(self._state.device)  # (7,)
        return {"optim/grad_norm": norms / updates if updates else nan, "train/skipped_steps": total}

    def state_dict(self) -> dict[str, object]:
        """Return the counts, which are the same on every rank."""
        return {"counts": self._state.cpu()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take saved counts."""
        counts = state["counts"]
        assert isinstance(counts, Tensor)
        self._state = counts.to(self._state.device)
