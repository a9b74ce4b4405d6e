"""How long a launch may train: `trainer.max_time`, in Lightning's ways of writing it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

_WRITTEN = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")
_UNITS = ("days", "hours", "minutes", "seconds")
_BEGINNINGS: ContextVar[list[float] | None] = ContextVar("_BEGINNINGS", default=None)


@contextmanager
def counted_as_one_launch() -> Iterator[None]:
    """Count the time of all trainings inside together, from the beginning of the first one."""
    outer = _BEGINNINGS.set([])
    try:
        yield
    finally:
        _BEGINNINGS.reset(outer)


def beginning_of_launch(now: float) -> float:
    """Return when the first training of the launch began; now, if this one is the first or is a launch of its own.

    Args:
        now: The time on the clock of the trainings, when one begins.
    """
    beginnings = _BEGINNINGS.get()
    if beginnings is None:
        return now
    beginnings.append(now)
    return beginnings[0]


def seconds_of(max_time: str | Mapping[str, float] | None) -> float | None:
    """Return a time in seconds, None for no limit.

    >>> seconds_of("01:00:00:30"), seconds_of({"hours": 2}), seconds_of(None)
    (86430.0, 7200.0, None)

    Args:
        max_time: Days, hours, minutes and seconds as DD:HH:MM:SS, or by their names.

    Raises:
        ValueError: naming the setting.
    """
    if max_time is None:
        return None
    if isinstance(max_time, str) and (written := _WRITTEN.fullmatch(max_time.strip())):
        return timedelta(**dict(zip(_UNITS, map(int, written.groups()), strict=True))).total_seconds()
    if isinstance(max_time, Mapping) and set(max_time) <= {*_UNITS, "weeks"}:
        return timedelta(**max_time).total_seconds()
    raise ValueError(f"trainer.max_time must be DD:HH:MM:SS, such as 00:08:00:00, or null; got {max_time}")
