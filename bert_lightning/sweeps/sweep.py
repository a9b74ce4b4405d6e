"""A sweep from its overrides to its table: every point in a folder of its own, whatever becomes of the others."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig
from rich.console import Console

from bert_lightning.sweeps.composing import check_started_once, compose
from bert_lightning.sweeps.finetuned_points import FinetunedPoints
from bert_lightning.sweeps.outcomes import Outcome, RunPoints
from bert_lightning.sweeps.points import Point, needed_runs, plan_points
from bert_lightning.sweeps.trial_overrides import in_hydras_words
from bert_lightning.sweeps.trial_slots import Ended, EndingSignals, SideBySide
from bert_lightning.training.stop_file import VARIABLE, stop_file_of
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""How long a sweep that ends waits for jobs that have not begun to train."""
_AT_ITS_END = ("finished", "was finished")


class Sweep:
    """The points of a sweep and their outcomes.

    Args:
        context: Hydra's loader of configs.
        config: The config of the sweep, without the overrides that are swept.
        launcher: Runs points.
        one_by_one: Whether the launcher runs one point after another in any case; then it gets one at a time.
        after: Called with every point that has come to its end with its own settings, at this start or before. With it
            every job is launched by itself, so that its end is seen; without it all are launched as one array.
    """

    def __init__(
        self,
        context: HydraContext,
        config: DictConfig,
        launcher: Launcher,
        one_by_one: bool,
        after: Callable[[Point], None] | None = None,
    ) -> None:
        self._loader = context.config_loader
        self._config = config
        self._launcher = launcher
        self._one_by_one = one_by_one
        self._after = after
        self._kind: RunPoints | FinetunedPoints = FinetunedPoints() if "task" in config else RunPoints()
        self._needed: dict[int, list[Point]] = {}
        self._returns: dict[int, JobReturn] = {}
        self._finished_before: set[int] = set()
        self._finished_otherwise: set[int] = set()
        self._ends = threading.Event()
        self._count = self._status = 0

    def run(self, arguments: Sequence[str]) -> list[JobReturn]:
        """Run all points, show their table and return what the launcher says of those that it ran.

        Args:
            arguments: Overrides.

        Raises:
            SystemExit: with status 1 if a point failed, or with that of a shell for a signal that ended the sweep.
            ValueError: if the points cannot be told apart, or several processes were started to run the same sweep.
        """
        check_started_once()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        parser = OverridesParser.create(config_loader=self._loader)
        points = plan_points(parser.parse_overrides(list(arguments)), self._compose)
        status = self.launch(points)
        outcomes = self.outcomes(points)
        self._show(outcomes)
        if status or any(outcome.error is not None for outcome in outcomes):
            sys.exit(status or 1)
        return list(self._returns.values())

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        return compose(self._loader, self._config, number, overrides)

    def launch(self, points: Sequence[Point]) -> int:
        """Run the points that are not finished; returns the exit status that a signal or a lost job asks for, else 0.

        A point whose settings name the folder of another one, as that of its teacher, waits for the end of that one.
        """
        self._count = len(points)
        self._needed = needed_runs(points) if isinstance(self._kind, RunPoints) else {}
        try:
            with nullcontext() if self._one_by_one else EndingSignals():
                waiting = list(self._to_run(points))
                self._run_one_by_one(waiting) if self._one_by_one else self._run_as_jobs(waiting)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1
        for point in waiting:
            self._say(point, f"is not started, {self._outcome(point).error}")
        return self._status

    def _say(self, point: Point, what: str) -> None:
        log.info("point %d of %d: %s %s", point.number + 1, self._count, point.swept, what)

    def outcomes(self, points: Sequence[Point]) -> list[Outcome]:
        """Return what has become of points."""
        return [self._outcome(point) for point in points]

    def _to_run(self, points: Sequence[Point]) -> Iterator[Point]:
        """Yield the points that are not finished, and take note of the others."""
        for point in points:
            if point.settings is None:
                self._say(point, f"has no settings: {point.error}")
            elif self._was_finished(point):
                self._end([point])
            else:
                if self._kind.has_come_to_its_end(point.settings):
                    self._finished_otherwise.add(point.number)
                yield point

    def _was_finished(self, point: Point) -> bool:
        """Take note of a point that needs no start; returns whether it does not."""
        assert point.settings is not None
        if point.settings.resume != "auto" or not self._is_finished(point):
            return False
        self._finished_before.add(point.number)
        self._finished_otherwise.discard(point.number)
        return True

    def _run_one_by_one(self, waiting: list[Point]) -> None:
        """Run points, each as soon as it need not wait any more; those that have to wait for ever are left."""
        while ready := self._ready(waiting):
            waiting.remove(ready[0])
            self._run(ready[:1])
            self._end(ready[:1])

    def _run_as_jobs(self, waiting: list[Point]) -> None:
        """Do the same with jobs side by side, as many at a time as `array_parallelism` of the launcher says."""
        most = getattr(self._launcher, "params", {}).get("array_parallelism")
        slots = SideBySide(most or len(waiting))
        jobs: dict[int, list[Point]] = {}
        try:
            while True:
                for batch in self._batches(self._ready(waiting)):
                    if slots.is_free():
                        waiting[:] = [point for point in waiting if point not in batch]
                        jobs[batch[0].number] = batch
                        slots.start(batch[0].number, partial(self._run, batch))
                if not slots.running():
                    return
                while (done := slots.wait(POLL_SECONDS)) is None:
                    continue
                self._note_loss(done)
                self._end(jobs.pop(done.number))
        except (KeyboardInterrupt, SystemExit):
            self._have_jobs_save(slots, [point for batch in jobs.values() for point in batch])
            raise

    def _ready(self, waiting: Sequence[Point]) -> list[Point]:
        return [point for point in waiting if not self._missing(point)]

    def _missing(self, point: Point) -> list[Point]:
        """Return the points that a point needs and that are not finished."""
        return [each for each in self._needed.get(point.number, []) if not self._is_finished(each)]

    def _batches(self, ready: Sequence[Point]) -> list[list[Point]]:
        """Return what is launched at once: an array, unless the end of every job is to be seen."""
        if self._after is not None:
            return [[point] for point in ready]
        held = [point for point in ready if point.is_held]
        free = [point for point in ready if point not in held]
        return [*([free] if free else []), *([point] for point in held)]

    def _run(self, batch: Sequence[Point]) -> None:
        """Launch points and wait for their end."""
        if any(self._outlast(point) for point in batch) or self._ends.is_set():
            return
        overrides = []
        for point in batch:
            assert point.run_dir is not None
            self._say(point, f"in {point.run_dir}")
            stop_file = stop_file_of(point.run_dir)
            stop_file.unlink(missing_ok=True)
            named = f"++hydra.job.env_set.{VARIABLE}={in_hydras_words(str(stop_file))}"
            overrides.append([*point.overrides, *([] if self._one_by_one else [named])])
        returned = self._launcher.launch(overrides, batch[0].number)
        self._returns.update((point.number, each) for point, each in zip(batch, returned, strict=True))

    def _outlast(self, point: Point) -> bool:
        """Wait for the process that an earlier start has left in a point; returns whether it has finished the point."""
        if point.settings is None or point.settings.resume != "auto" or not point.is_held:
            return False
        self._say(point, "still trains in a process of an earlier start; waiting for its end")
        while point.is_held and not self._ends.wait(POLL_SECONDS):
            continue
        return self._was_finished(point)

    def _note_loss(self, done: Ended) -> None:
        if done.error is not None:
            lost = "a job was lost, others may train on; the same line with resume=auto goes on: %s"
            log.error(lost, printable(done.error))
            self._status = 1

    def _end(self, batch: Sequence[Point]) -> None:
        """Take note of the end of points."""
        self._finished_otherwise -= {point.number for point in batch if self._is_finished(point)}
        for point in batch:
            if self._after is not None and self._outcome(point).status in _AT_ITS_END:
                self._after(point)

    def _have_jobs_save(self, slots: SideBySide, points: Sequence[Point]) -> None:
        """After a signal: have the points that train save and end."""
        self._ends.set()
        if not slots.running():
            return
        log.info("the sweep ends: its points save; Ctrl-C again does not wait for them")
        for run_dir in (point.run_dir for point in points if point.run_dir is not None):
            run_dir.mkdir(parents=True, exist_ok=True)
            stop_file_of(run_dir).touch()
        idle_since = time.monotonic()
        try:
            while slots.running() and time.monotonic() - idle_since < PATIENCE_SECONDS:
                if any(point.is_held for point in points):
                    idle_since = time.monotonic()
                slots.wait(POLL_SECONDS)
        except (KeyboardInterrupt, SystemExit):
            pass

    def _is_finished(self, point: Point) -> bool:
        return point.settings is not None and self._kind.is_finished(point.settings)

    def _outcome(self, point: Point) -> Outcome:
        if point.settings is None or point.run_dir is None:
            return Outcome(point, "failed", point.error)
        if point.number in self._finished_before:
            return Outcome(point, "was finished")
        returned = self._returns.get(point.number)
        if returned is not None and returned.status == JobStatus.FAILED:
            return Outcome(point, "failed", " ".join(str(returned._return_value).split()))
        if point.number in self._finished_otherwise:
            return Outcome(point, "was finished otherwise")
        status = self._kind.status(point.settings, returned is not None)
        missing = self._missing(point) if status not in _AT_ITS_END else []
        return Outcome(point, status, f"waits for {missing[0].swept}, whose run it reads" if missing else None)

    def _show(self, outcomes: Sequence[Outcome]) -> None:
        console = Console(markup=False, emoji=False, highlight=False)
        console.print(self._kind.table(outcomes))
        for outcome in outcomes:
            if outcome.error is not None:
                console.print(printable(f"{outcome.point.swept} {outcome.status}: {outcome.error}"), soft_wrap=True)
