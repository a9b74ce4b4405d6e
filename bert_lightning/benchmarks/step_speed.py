"""Training steps of several contestants in turn on the same batches: seconds, memory, compilations, losses."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._dynamo.utils import counters

from bert_lightning.benchmarks.contestants import Contestant
from bert_lightning.benchmarks.peak_memory import peak_growth
from data_pipeline.streams.packed_batch import PackedBatch


@dataclass(slots=True)
class Runner:
    """A contestant in the race, and its measurements.

    Attributes:
        contestant: The model that runs.
        inputs: Batches in the form that the contestant takes, on the host.
        first_seconds: Seconds of the warm-up steps, one on every batch.
        seconds: Seconds of a step in each repeat.
        num_compiled: Graphs compiled in the warm-up, and in the steps that were timed.
        peak_bytes: Weights, optimizer state, and the most that a step holds beside them.
        num_steps: Steps made so far.
        losses: Joint losses without dropout on the first batch, before and after all steps.
        failure: Why the contestant left the race; empty if it did not.
    """

    contestant: Contestant
    inputs: list[Any]
    first_seconds: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    num_compiled: list[int] = field(default_factory=lambda: [0, 0])
    peak_bytes: int | None = None
    num_steps: int = 0
    losses: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def name(self) -> str:
        """The contestant's name, and why it left the race."""
        return f"{self.contestant.name}: {self.failure}" if self.failure else self.contestant.name

    @property
    def median_seconds(self) -> float:
        """The median over the repeats."""
        return median(self.seconds)

    @property
    def compile_seconds(self) -> float:
        """Seconds that the warm-up took longer than as many steps do later; 0 if nothing was compiled."""
        extra = sum(self.first_seconds) - len(self.first_seconds) * self.median_seconds
        return max(0.0, extra) if self.num_compiled[0] else 0.0

    def attempt(self, work: Callable[..., None], *args: int) -> None:
        """Do a stretch of work; a contestant whose device has too little memory for it leaves the race."""
        if self.failure:
            return
        try:
            work(*args)
        except torch.OutOfMemoryError:
            self.failure = "out of memory"
        if self.failure:  # the error holds the frames of the step, and they hold its tensors, until it is handled
            self.inputs = []
            self.contestant.release()

    def warm_up(self) -> None:
        """Make a step on every batch, so that every shape has been seen, then one to look at the memory."""
        self.losses.append(self.contestant.evaluate(self.inputs[0]))
        before = _num_graphs()
        self.first_seconds = [self._timed([inputs]) for inputs in self.inputs]
        self.num_compiled[0] = _num_graphs() - before
        with peak_growth(self.contestant.device) as growth:
            self._timed(self.inputs[:1])
        if growth.num_bytes is not None:
            self.peak_bytes = self.contestant.state_bytes() + growth.num_bytes

    def run(self, first: int, count: int) -> None:
        """Time `count` steps in a row on successive batches, from number `first` on."""
        before = _num_graphs()
        inputs = [self.inputs[number % len(self.inputs)] for number in range(first, first + count)]
        self.seconds.append(self._timed(inputs) / count)
        self.num_compiled[1] += _num_graphs() - before

    def finish(self) -> None:
        """Note the loss after all steps."""
        self.losses.append(self.contestant.evaluate(self.inputs[0]))

    def _timed(self, inputs: Sequence[Any]) -> float:
        self.contestant.wait()
        begin = time.perf_counter()
        for one in inputs:
            self.contestant.step(one)
        self.num_steps += len(inputs)
        self.contestant.wait()
        return time.perf_counter() - begin


def race(contestants: Sequence[Contestant], batches: Sequence[PackedBatch], repeats: int, steps: int) -> list[Runner]:
    """Let contestants make the same steps in turn; the one that begins changes from repeat to repeat.

    Args:
        contestants: Models on one device.
        batches: Micro-batches, each one step; gone through again and again.
        repeats: Turns of each contestant.
        steps: Steps in a row of a turn, on successive batches.
    """
    runners = [Runner(one, [one.prepare(batch) for batch in batches]) for one in contestants]
    for runner in runners:
        runner.attempt(runner.warm_up)
    for repeat in range(repeats):
        turn = repeat % len(runners)
        for runner in runners[turn:] + runners[:turn]:
            runner.attempt(runner.run, repeat * steps, steps)
    for runner in runners:
        runner.attempt(runner.finish)
    return runners


def median(values: Sequence[float]) -> float:
    """Return the middle value; the lower of the two in the middle."""
    return sorted(values)[(len(values) - 1) // 2]


def _num_graphs() -> int:
    """Return how many graphs torch.compile has made in this process."""
    return int(counters["stats"]["unique_graphs"])
