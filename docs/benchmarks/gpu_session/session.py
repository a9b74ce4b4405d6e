"""Going through the queue within the time: what fits, what is known already, what is kept whatever happens."""

import datetime
import os
import time
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gpu_session.records import Record, is_of, measured, pack, read, write
from gpu_session.steps import Step
from gpu_session.table import as_markdown
from gpu_session.worker import StepFailed

RESERVE = 8.0
"""Seconds kept for packing and the table."""
START_LIMIT = 120.0
ALL = "all"


class Measures(Protocol):
    """A process that measures; see `worker.Worker`."""

    def facts(self, seconds: float) -> Record:
        """Return what is known about the machine."""

    def measure(self, step: Step, seconds: float) -> Record:
        """Return what a step found."""

    def stop(self) -> None:
        """End the process."""


@dataclass(slots=True)
class Session:
    """One go through the queue.

    Attributes:
        steps: The queue.
        deadline: When all must have ended, by `clock`.
        results: A folder for the records of this machine.
        out: A folder for the packed files.
        log: The file that the process that measures writes to.
        committed: Folders with records of earlier sessions.
        sources: Digest of the code.
        start: Starts a process that measures.
        repeat: Names of steps to measure though their answers are known; or ALL.
        clock: Tells the seconds.
        say: Prints a line.
    """

    steps: Sequence[Step]
    deadline: float
    results: Path
    out: Path
    log: Path
    committed: Iterable[Path]
    sources: str
    start: Callable[[], Measures]
    repeat: Container[str] = ()
    clock: Callable[[], float] = time.monotonic
    say: Callable[[str], Any] = print
    failed: list[str] = field(default_factory=list)
    _worker: Measures | None = None
    _machine: Record = field(default_factory=dict)
    _folder: str = ""

    def left(self) -> float:
        """Return the seconds left for measuring."""
        return self.deadline - RESERVE - self.clock()

    def run(self) -> None:
        """Measure what fits; whatever ends it, what was measured is packed and the table comes last."""
        try:
            self._go_through()
        finally:
            self.stop()
            if self._folder:
                self._pack()
            self.say(self._table())

    def stop(self) -> None:
        """End the process that measures."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def _go_through(self) -> None:
        if not any(self._fits(step) for step in self.steps) or not self._begin():
            self.say(f"nothing measured: {max(0, self.left()):.0f} s are too short for any step")
            return
        known = measured([*self.committed, self.results], self._identity())
        no_time = []
        for step in self.steps:
            path = known.get((step.name, step.settings))
            if path is not None and step.name not in self.repeat and ALL not in self.repeat:
                self.say(f"{step.name}: known from {path}")
            elif self._fits(step):
                self._measure(step)
            else:
                no_time.append(step.name)
        if no_time:
            self.say(f"no time left for {len(no_time)} of {len(self.steps)}: {', '.join(no_time)}")

    def _fits(self, step: Step) -> bool:
        return step.expected <= self.left()

    def _begin(self) -> bool:
        """Start a process; returns whether it came up in time."""
        self._worker = self.start()
        try:
            self._machine = self._worker.facts(min(START_LIMIT, self.left()))
        except StepFailed as failure:
            self.say(f"no process that measures: {'; '.join(map(str, failure.args))}")
            self.stop()
            return False
        self._folder = f"{datetime.date.today()}-{self._card().replace(' ', '-')}"
        return True

    def _card(self) -> str:
        return str(self._machine["gpus"][0]) if self._machine["gpus"] else "cpu"

    def _identity(self) -> Record:
        return {"card": self._card(), "torch": self._machine["versions"]["torch"], "sources": self.sources}

    def _measure(self, step: Step) -> None:
        if self._worker is None and not self._begin():
            return
        begin = self.clock()
        record: Record = {"step": step.name, "answers": step.answers, "settings": list(step.settings)}
        commit = os.environ.get("COMMIT") or self._machine["commit"]
        machine = {**self._machine, "commit": commit}
        record |= {"date": datetime.date.today().isoformat(), "machine": machine, **self._identity(), "commit": commit}
        try:
            assert self._worker is not None
            found = self._worker.measure(step, min(step.limit, self.left()))
            record = {**found, **record, "ok": True}
        except StepFailed as failure:
            record |= {"ok": False, "error": list(failure.args), "line": f"FAILED: {failure.args[0]}"}
            self.failed.append(step.name)
            self.stop()  # the device, or the process, may be broken: the next step has a new one
        record["seconds"] = round(self.clock() - begin, 1)
        write(self.results / f"{step.name}.json", record)
        self._pack()
        self.say(f"{step.name} ({record['seconds']:.0f} s): {record['line']}")

    def _pack(self) -> None:
        self.log.touch()
        pack(self.results, self._folder, self.log, self._table(), self.out)

    def _table(self) -> str:
        """Return the table of what this machine says about this code, in the order of the queue."""
        if not self._machine:
            return as_markdown([])
        identity = self._identity()
        order = {step.name: number for number, step in enumerate(self.steps)}
        records = [(record["step"], record) for _, record in read([self.results]) if is_of(record, identity)]
        return as_markdown(sorted(records, key=lambda one: order.get(one[0], len(order))))
