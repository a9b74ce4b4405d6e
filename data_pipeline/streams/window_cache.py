"""The windows that are in memory while batch after batch is read from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

W = TypeVar("W")


@dataclass(slots=True)
class _Held(Generic[W]):
    key: tuple[int, int]
    window: W
    last_use: int


@dataclass(slots=True)
class WindowCache(Generic[W]):
    """One window of each lane: the next window of a lane replaces the one before, which is never read again.

    The window of a lane that has not been asked for in as many reads as there are lanes is let go: other ranks read it.
    """

    _held: dict[int, _Held[W]] = field(default_factory=dict)
    _reads: int = 0

    def __len__(self) -> int:
        return len(self._held)

    def begin_read(self, num_lanes: int) -> None:
        """Count another read, and let go the windows that were not used in the last `num_lanes` reads."""
        self._reads += 1
        self._held = {lane: held for lane, held in self._held.items() if self._reads - held.last_use <= num_lanes}

    def get(self, lane: int, key: tuple[int, int], load: Callable[[], W]) -> W:
        """Return the window of a lane, loaded if the lane holds another one; `key` is its epoch and number."""
        held = self._held.get(lane)
        if held is None or held.key != key:
            self._held.pop(lane, None)
            held = self._held[lane] = _Held(key, load(), self._reads)
        held.last_use = self._reads
        return held.window
