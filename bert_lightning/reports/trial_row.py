"""One trial of a search as people see it: in a table, in trials.csv, in a report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

COMPLETE, PRUNED, FAILED, RUNNING, STOPPED, WAITING = "complete", "pruned", "failed", "running", "stopped", "waiting"
"""States of a trial: a stopped one goes on at the next start of the search, a waiting one is enqueued."""


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial.

    Attributes:
        number: Number of the trial, from 0.
        state: One of the states above.
        value: Its metric: at its end, or at its last validation; None before the first.
        values: What was chosen for it, by key.
        run_dir: Folder of its run.
        steps: Optimizer steps that it has made.
        seconds: Seconds that it has trained, without those that a kill has lost.
        curve: Steps and metric of its validations.
        error: Why it failed.
    """

    number: int
    state: str
    value: float | None
    values: Mapping[str, Any]
    run_dir: str
    steps: int = 0
    seconds: float = 0.0
    curve: tuple[Sequence[int], Sequence[float]] = field(default=((), ()))
    error: str | None = None


def best_first(rows: Sequence[TrialRow], direction: str) -> list[TrialRow]:
    """Return the trials that are complete with a finite value, the best first, then the others by number."""
    ranked = _ranked(rows, direction)
    return [*ranked, *(row for row in rows if row not in ranked)]


def best_of(rows: Sequence[TrialRow], direction: str) -> TrialRow | None:
    """Return the best trial that is complete, None if there is none."""
    return next(iter(_ranked(rows, direction)), None)


def _ranked(rows: Sequence[TrialRow], direction: str) -> list[TrialRow]:
    sign = 1 if direction == "minimize" else -1
    complete = [(row, row.value) for row in rows if row.state == COMPLETE and row.value is not None]
    finite = [(sign * value, row.number, row) for row, value in complete if math.isfinite(value)]
    return [row for _, _, row in sorted(finite, key=lambda each: each[:2])]


def shown(value: Any) -> str:
    """Return a value of a trial with four significant digits.

    >>> shown(0.00123456), shown(True), shown("bert_mini"), shown(12345678), shown(None)
    ('0.001235', 'true', 'bert_mini', '12345678', 'null')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
