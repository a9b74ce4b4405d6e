"""How long a launch may train: `trainer.max_time`, in Lightning's ways of writing it."""

import re
from collections.abc import Mapping
from datetime import timedelta

_WRITTEN = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")
_UNITS = ("days", "hours", "minutes", "seconds")


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
