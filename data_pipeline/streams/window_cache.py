"""The stretches of lanes that are in memory while batch after batch is read from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

W = TypeVar("W")


@dataclass(slots=True)
class _Held(Generic[W]):
    key: tuple[int, int]
    window: W
    last_turn: int


@dataclass(slots=True)
class WindowCache(Generic[W]):
    """One window a lane: the next one takes the place of the one before, which is never read again.

    A lane that no batch has asked for in as many turns as there are lanes is read by other ranks, and let go.
    """

    _held: dict[int, _Held[W]] = field(default_factory=dict)
    _turn: int = 0

    def __len__(self) -> int:
        return len(self._held)

    def begin_turn(self, num_lanes: int) -> None:
        """Say that another batch is about to be read."""
        self._turn += 1
        self._held = {lane: held for lane, held in self._held.items() if self._turn - held.last_turn <= num_lanes}

    def get(self, lane: int, key: tuple[int, int], load: Callable[[], W]) -> W:
        """Return the window of a lane, loaded where another one is held; `key` is its epoch and number."""
        held = self._held.get(lane)
        if held is None or held.key != key:
            self._held.pop(lane, None)
            held = self._held[lane] = _Held(key, load(), self._turn)
        held.last_turn = self._turn
        return held.window
