"""Schedules against closed forms, and what all of them have in common."""

import doctest
import math
from functools import partial

import pytest

from bert_lightning.training import schedules
from bert_lightning.training.schedules import constant, cosine, linear, polynomial, warmup_stable_decay

ALL = [linear, cosine, constant, partial(polynomial, power=0.5), partial(warmup_stable_decay, decay_steps=0)]


def test_examples() -> None:
    assert doctest.testmod(schedules).failed == 0


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("warmup_steps", [0, 1, 37, 0.25, 100])
def test_warm_up_is_linear_reaches_one_and_no_step_is_wasted(schedule: partial[float], warmup_steps: float) -> None:
    length = round(warmup_steps * 100) if warmup_steps < 1 else warmup_steps
    factors = [schedule(step, max_steps=100, warmup_steps=warmup_steps) for step in range(100)]
    assert factors[:length] == [(step + 1) / length for step in range(length)]
    assert max(factors) == 1.0
    assert min(factors) > 0.0
    decay = factors[max(length - 1, 0) :]
    assert decay == sorted(decay, reverse=True)


def test_decay_has_the_closed_form() -> None:
    for step in range(40, 101):
        progress = (step - 40) / 60
        assert linear(step, 100, 40, final=0.1) == pytest.approx(0.1 + 0.9 * (1 - progress))
        assert polynomial(step, 100, 40, power=3) == pytest.approx((1 - progress) ** 3)
        assert cosine(step, 100, 40) == pytest.approx((1 + math.cos(math.pi * progress)) / 2)


def test_the_end_is_final_and_stays() -> None:
    assert linear(100, 100, 10, final=0.02) == linear(200, 100, 10, final=0.02) == pytest.approx(0.02)
    assert cosine(150, 100, 10) == pytest.approx(0.0)


@pytest.mark.parametrize("warmup_steps", [101, -1])
def test_a_warm_up_that_does_not_fit_is_refused(warmup_steps: float) -> None:
    with pytest.raises(ValueError, match=rf"schedule.warmup_steps={warmup_steps} .*trainer.max_steps=100"):
        linear(0, 100, warmup_steps)


def test_the_stable_part_is_that_of_any_length_and_the_decay_has_the_closed_form() -> None:
    """So a checkpoint from before the decay goes on as the longer run would have."""
    short, long = ([warmup_stable_decay(step, length, 10, 30) for step in range(length + 1)] for length in (100, 200))
    assert short[:70] == long[:70]
    assert set(short[10:71]) == {1.0}
    assert short[70:] == pytest.approx([1 - math.sqrt(step / 30) for step in range(31)])
    assert warmup_stable_decay(150, 100, 10, 30, final=0.1) == pytest.approx(0.1)
    assert warmup_stable_decay(90, 100, 10, 0.2, final=0.1) == pytest.approx(0.1 + 0.9 * (1 - math.sqrt(0.5)))


@pytest.mark.parametrize("decay_steps", [91, -1])
def test_a_decay_that_does_not_fit_is_refused(decay_steps: float) -> None:
    with pytest.raises(ValueError, match=rf"schedule.decay_steps={decay_steps} and schedule.warmup_steps=10 .*=100"):
        warmup_stable_decay(0, 100, 10, decay_steps)
