"""Ranks tell each other that they live; a rank that has died, was stopped or hangs is named.

Every rank writes a beat into a store from a separate thread. The first rank reads all beats, the others read the beat
of the first rank and its verdict: two small messages for each rank and interval. No clocks are compared: a rank is
silent when its beat has not changed for some time on the clock of the reader.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from torch.distributed import Store  # type: ignore[attr-defined]

VERDICT = "verdict"
LOST_A_RANK = "has lost another rank"
"""Reason of a rank that ends because another one has failed."""
FAILED = "failed: "
"""Beginning of the reason of a rank that ends with an error of its own."""


@dataclass(slots=True)
class Beat:
    """A sign of life of a rank.

    Attributes:
        rank: Number of the rank.
        beats: Number of signs of life so far.
        progress: Number of positions of the loop that the rank has passed; all ranks pass the same ones in order.
        position: Position of the rank in the loop, in words.
        ended: Reason for which the rank has left, in words; empty while it runs.
        host: Name of the machine.
        process: Number of the process.
        machine: Identifier of the machine and the numbering of its processes.
    """

    rank: int
    beats: int = 0
    progress: int = 0
    position: str = "starting"
    ended: str = ""
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    machine: str = field(default_factory=lambda: this_machine())

    def __str__(self) -> str:
        return f"rank {self.rank} (host {self.host}, process {self.process}, {self.ended or self.position})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, and with which ranks; `who` may be empty if that is not known."""

    text: str
    who: tuple[Beat, ...] = ()

    @property
    def is_failure(self) -> bool:
        """Whether a rank has ended with an error of its own; otherwise it was lost."""
        return any(beat.ended.startswith(FAILED) for beat in self.who)

    def __str__(self) -> str:
        return f"{self.text}: {', '.join(map(str, self.who))}" if self.who else self.text


def this_machine() -> str:
    """Return an identifier that two processes share if they can send each other signals."""
    boot, numbering = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return (
        f"{boot.read_text(encoding='utf-8').strip()} {os.readlink(numbering)}"
        if boot.exists()
        else socket.gethostname()
    )


class Heartbeat:
    """Beat, and watch the others, until `stop`.

    Args:
        store: Store that all ranks share and nothing else in this process uses.
        rank: Number of this rank.
        world_size: Number of ranks.
        on_verdict: Function that is called once, from a thread, if a rank is silent or all are stuck.
        interval_seconds: Seconds between two beats.
        silent_seconds: Seconds without a beat after which a rank counts as dead.
        stuck_seconds: Seconds without progress of any rank after which the run counts as stuck.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        world_size: int,
        on_verdict: Callable[[Verdict], None],
        interval_seconds: float = 2.0,
        silent_seconds: float = 60.0,
        stuck_seconds: float = 1800.0,
    ) -> None:
        self.beat = Beat(rank)
        self._store = store
        self._store.set_timeout(timedelta(seconds=silent_seconds))
        self._world_size = world_size
        self._on_verdict = on_verdict
        self._interval, self._silent, self._stuck = interval_seconds, silent_seconds, stuck_seconds
        self._seen: dict[int, tuple[Beat, float]] = {}  # the last beat of every rank and when it changed
        self._moved = (-1, time.monotonic())  # the furthest progress of any rank and when it changed
        self._reached = time.monotonic()
        self._stopped = threading.Event()
        self._talker = threading.Thread(target=self._talk, name="heartbeat-talk", daemon=True)
        self._given = threading.Lock()

    def start(self) -> None:
        """Begin; each rank needs the first beats of the others, so they must meet before and after."""
        self._say()
        if self.beat.rank == 0:
            self._store.set(VERDICT, "")

    def watch(self) -> None:
        """Start the threads: one talks to the store, which may never answer, the other looks at the clock."""
        self._talker.start()
        threading.Thread(target=self._look_at_the_clock, name="heartbeat-clock", daemon=True).start()

    def mark(self, position: str) -> None:
        """Note the position of this rank in the loop; costs next to nothing."""
        self.beat.position = position
        self.beat.progress += 1

    def stop(self, ended: str = "has finished") -> None:
        """Say why this rank leaves, and beat no more.

        An interpreter that ends while a thread is in a call of the store aborts: "terminate called without an active
        exception". So the thread gets the time to come back.
        """
        self._stopped.set()
        self.beat.ended = ended
        if self._talker.is_alive():
            self._talker.join(timeout=10 * self._interval)
        try:
            self._say()
        except Exception:  # the store has gone first
            return

    def missing(self) -> Verdict | None:
        """Return the ranks that have left or give no sign of life now; takes two and a half intervals."""
        try:
            before = self._read(range(self._world_size))
            time.sleep(2.5 * self._interval)
            after = self._read(range(self._world_size))
        except Exception:
            return self._store_is_gone()
        gone = [
            beat
            for old, beat in zip(before, after, strict=True)
            if beat.rank != self.beat.rank and beat.ended != LOST_A_RANK and (beat.ended or beat.beats == old.beats)
        ]
        return Verdict("a rank is gone", tuple(gone)) if gone else None

    def _say(self) -> None:
        self.beat.beats += 1
        self._store.set(f"beat/{self.beat.rank}", json.dumps(asdict(self.beat)))

    def _read(self, ranks: range) -> list[Beat]:
        return [Beat(**json.loads(text)) for text in self._store.multi_get([f"beat/{rank}" for rank in ranks])]

    def _talk(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self._say()
                beats = self._read(range(self._world_size) if self.beat.rank == 0 else range(1))
                told = self._store.get(VERDICT).decode()
            except Exception:
                continue
            self._reached = time.monotonic()
            if told:
                content = json.loads(told)
                self._give(Verdict(content["text"], tuple(Beat(**beat) for beat in content["who"])))
            elif verdict := self._judge(beats):
                self._store.set(VERDICT, json.dumps({"text": verdict.text, "who": [asdict(b) for b in verdict.who]}))
                time.sleep(2 * self._interval)  # the store may be in this process: let the others read it
                self._give(verdict)

    def _judge(self, beats: list[Beat]) -> Verdict | None:
        """Return what is wrong with the beats that were just read."""
        now = time.monotonic()
        for beat in beats:
            last = self._seen.get(beat.rank)
            if last is None or last[0].beats != beat.beats or beat.ended:
                self._seen[beat.rank] = (beat, now)
        silent = tuple(beat for beat, since in self._seen.values() if now - since > self._silent)
        if silent:
            return Verdict(f"no sign of life for {self._silent:.0f} s", silent)
        furthest = max(beat.progress for beat in beats)
        if furthest != self._moved[0] or any(beat.ended for beat in beats):
            self._moved = (furthest, now)
        if self.beat.rank == 0 and now - self._moved[1] > self._stuck:
            least = min(beat.progress for beat in beats)
            behind = tuple(beat for beat in beats if beat.progress == least)
            return Verdict(f"no rank has gone on for {self._stuck:.0f} s, the others wait for", behind)
        return None

    def _look_at_the_clock(self) -> None:
        while not self._stopped.wait(self._interval):
            if time.monotonic() - self._reached > self._silent:
                self._give(self._store_is_gone())

    def _store_is_gone(self) -> Verdict:
        """The store is kept by the first rank, or by torchrun beside it."""
        first = self._seen[0][0] if 0 in self._seen else Beat(0, host="unknown", process=0, machine="")
        return Verdict("no connection to the machine of the first rank", (first,))

    def _give(self, verdict: Verdict) -> None:
        if self._given.acquire(blocking=False) and not self._stopped.is_set():
            self._on_verdict(verdict)
