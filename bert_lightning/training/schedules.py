"""Learning-rate schedules: pure functions from the number of updates made so far to a factor on the learning rate.

All begin with a linear warm-up that reaches 1 with its last update, and decay from there to `final` at `max_steps`.
`warmup_steps` below 1 is a share of `max_steps`. Having no state, they need nothing saved to continue a run.
"""

from math import cos, pi, sqrt


def warmup_length(warmup_steps: float, max_steps: int) -> int:
    """Return the length of the warm-up in steps.

    >>> warmup_length(100, 1000), warmup_length(0.06, 1000), warmup_length(0, 1000)
    (100, 60, 0)
    """
    length = round(warmup_steps * max_steps) if warmup_steps < 1 else int(warmup_steps)
    if not 0 <= length <= max_steps:
        raise ValueError(f"schedule.warmup_steps={warmup_steps} does not fit trainer.max_steps={max_steps}")
    return length


def polynomial(step: int, max_steps: int, warmup_steps: float = 0, power: float = 1.0, final: float = 0.0) -> float:
    """Warm up, then fall as (1 - progress) ** power (You et al., 2020, use 0.5 with LAMB).

    >>> [round(polynomial(step, max_steps=8, warmup_steps=4, power=2), 4) for step in range(9)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.5625, 0.25, 0.0625, 0.0]
    """
    length = warmup_length(warmup_steps, max_steps)
    if step < length:
        return (step + 1) / length
    remaining = (max_steps - min(step, max_steps)) / max(max_steps - length, 1)
    return final + (1.0 - final) * float(remaining**power)


def linear(step: int, max_steps: int, warmup_steps: float = 0, final: float = 0.0) -> float:
    """Warm up, then fall in a straight line (Devlin et al., 2019, section A.2).

    >>> [linear(step, max_steps=8, warmup_steps=4) for step in range(9)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return polynomial(step, max_steps, warmup_steps, 1.0, final)


def cosine(step: int, max_steps: int, warmup_steps: float = 0, final: float = 0.0) -> float:
    """Warm up, then fall along half a cosine.

    >>> [round(cosine(step, max_steps=8, warmup_steps=4), 4) for step in range(9)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.8536, 0.5, 0.1464, 0.0]
    """
    length = warmup_length(warmup_steps, max_steps)
    if step < length:
        return (step + 1) / length
    progress = (min(step, max_steps) - length) / max(max_steps - length, 1)
    return final + (1.0 - final) * 0.5 * (1.0 + cos(pi * progress))


def constant(step: int, max_steps: int, warmup_steps: float = 0) -> float:
    """Warm up, then stay.

    >>> [constant(step, max_steps=6, warmup_steps=2) for step in range(4)]
    [0.5, 1.0, 1.0, 1.0]
    """
    length = warmup_length(warmup_steps, max_steps)
    return min((step + 1) / length, 1.0) if length else 1.0


def warmup_stable_decay(
    step: int, max_steps: int, warmup_steps: float = 0, decay_steps: float = 0.2, final: float = 0.0
) -> float:
    """Warm up, stay, then fall as 1 - sqrt(progress) over the last `decay_steps` (Hägele et al., 2024, section 4).

    `decay_steps` below 1 is a share of `max_steps`.

    >>> [round(warmup_stable_decay(step, 10, warmup_steps=2, decay_steps=4), 4) for step in range(11)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.2929, 0.134, 0.0]
    """
    warm = warmup_length(warmup_steps, max_steps)
    decay = round(decay_steps * max_steps) if decay_steps < 1 else int(decay_steps)
    if not 0 <= decay <= max_steps - warm:
        raise ValueError(
            f"schedule.decay_steps={decay_steps} and schedule.warmup_steps={warmup_steps} do not fit "
            f"trainer.max_steps={max_steps}"
        )
    if step < warm:
        return (step + 1) / warm
    progress = (min(step, max_steps) - (max_steps - decay)) / max(decay, 1)
    return final + (1.0 - final) * (1.0 - sqrt(max(progress, 0.0)))
