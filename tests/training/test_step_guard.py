"""Skipped steps are counted, and too many in a row are noticed even when they end before the reading."""

import math

import pytest
import torch

from bert_lightning.training.step_guard import NotFiniteError, StepGuard, poison

CPU = torch.device("cpu")


def add(guard: StepGuard, skips: str) -> None:
    for letter in skips:
        skipped = letter == "x"
        guard.add(torch.tensor(math.nan if skipped else 2.0), torch.tensor(skipped))


def test_the_norm_is_the_mean_over_updates_and_skips_add_up() -> None:
    guard = StepGuard(3, CPU)
    add(guard, "..x.")
    assert guard.read(4) == {"optim/grad_norm": 2.0, "train/skipped_steps": 1.0}
    add(guard, "x.x")
    assert guard.read(7)["train/skipped_steps"] == 3.0


def test_a_window_without_an_update_has_no_norm() -> None:
    guard = StepGuard(3, CPU)
    add(guard, "xx")
    assert math.isnan(guard.read(2)["optim/grad_norm"])


@pytest.mark.parametrize(
    ("windows", "stops"), [(["xx", ".x"], False), (["x.x", "x.."], False), (["..xx", "x..."], True), (["xxx."], True)]
)
def test_steps_in_a_row_are_counted_across_readings(windows: list[str], stops: bool) -> None:
    guard = StepGuard(3, CPU)
    for window in windows[:-1]:
        add(guard, window)
        guard.read(0)
    add(guard, windows[-1])
    if stops:
        with pytest.raises(ValueError, match=r"in steps \d to \d \(max_skipped_steps=3\)"):
            guard.read(9)
    else:
        guard.read(9)


def test_the_state_goes_on_where_it_was_saved() -> None:
    guard, loaded = StepGuard(3, CPU), StepGuard(3, CPU)
    add(guard, ".xx")
    loaded.load_state_dict(guard.state_dict())
    add(loaded, "x")
    with pytest.raises(ValueError, match="in steps 2 to 4 "):
        loaded.read(4)


def test_a_loss_that_is_not_finite_poisons_the_gradient() -> None:
    for value in (math.inf, -math.inf, math.nan):
        weight = torch.ones(2, requires_grad=True)
        loss = weight.sum() + value
        loss.backward(gradient=poison(loss))
        assert weight.grad is not None
        assert weight.grad.isnan().all()
    weight = torch.ones(2, requires_grad=True)
    loss = weight.sum()
    loss.backward(gradient=poison(loss))
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones(2))


@pytest.mark.parametrize(
    ("windows", "first", "last"),
    [(["....", ".xxx"], 6, 8), (["....", "xxx."], 5, 7), (["..xx", "xx.."], 3, 6), (["x.xx", "x.x."], 3, 5)],
)
def test_the_steps_are_named_wherever_they_are_read(windows: list[str], first: int, last: int) -> None:
    guard = StepGuard(3, CPU)
    add(guard, windows[0])
    guard.read(4)
    add(guard, windows[1])
    with pytest.raises(NotFiniteError) as raised:
        guard.read(8)
    assert (raised.value.first_step, raised.value.last_step) == (first, last)
