"""A sweep from its overrides to its table: every point in a folder of its own, whatever becomes of the others."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig
from rich.console import Console

from bert_lightning.sweeps.composing import check_started_once, compose
from bert_lightning.sweeps.finetuned_points import FinetunedPoints
from bert_lightning.sweeps.outcomes import Outcome, RunPoints
from bert_lightning.sweeps.points import Point, plan_points
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)


class Sweep:
    """The points of a sweep and their outcomes.

    Args:
        context: Hydra's loader of configs.
        config: The config of the sweep, without the overrides that are swept.
        launcher: Runs points.
        one_by_one: Whether the launcher runs one point after another in any case; then it gets one at a time.
        after: Called with every point that has come to its end with its own settings, at this start or before.
    """

    def __init__(
        self,
        context: HydraContext,
        config: DictConfig,
        launcher: Launcher,
        one_by_one: bool,
        after: Callable[[Point], None] = lambda point: None,
    ) -> None:
        self._loader = context.config_loader
        self._config = config
        self._launcher = launcher
        self._one_by_one = one_by_one
        self._after = after
        self._kind: RunPoints | FinetunedPoints = FinetunedPoints() if "task" in config else RunPoints()
        self._returns: dict[int, JobReturn] = {}
        self._finished_before: set[int] = set()
        self._finished_otherwise: set[int] = set()

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
        if status or any(outcome.status == "failed" for outcome in outcomes):
            sys.exit(status or 1)
        return list(self._returns.values())

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        return compose(self._loader, self._config, number, overrides)

    def launch(self, points: Sequence[Point]) -> int:
        """Run the points that are not finished; returns the exit status that a signal asks for, else 0."""
        try:
            self._launch(points)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1
        return 0

    def outcomes(self, points: Sequence[Point]) -> list[Outcome]:
        """Return what has become of points."""
        return [self._outcome(point) for point in points]

    def _launch(self, points: Sequence[Point]) -> None:
        waiting = []
        for point in points:
            if point.settings is None:
                log.info("point %d of %d: %s: %s", point.number + 1, len(points), point.swept, point.error)
            elif point.settings.resume == "auto" and self._kind.is_finished(point.settings):
                self._finished_before.add(point.number)
                self._after(point)
            else:
                waiting.append(point)
                if self._kind.has_come_to_its_end(point.settings):
                    self._finished_otherwise.add(point.number)
        batches = [[point] for point in waiting] if self._one_by_one else [waiting] if waiting else []
        for batch in batches:
            for point in batch:
                log.info("point %d of %d: %s in %s", point.number + 1, len(points), point.swept, point.run_dir)
            try:
                returned = self._launcher.launch([list(point.overrides) for point in batch], batch[0].number)
            except Exception as error:
                if self._one_by_one:
                    raise
                said = printable(" ".join(str(error).split()) or type(error).__name__)
                log.error("a job was lost, others may train on; the same line with resume=auto goes on: %s", said)
                sys.exit(1)
            self._returns.update((point.number, each) for point, each in zip(batch, returned, strict=True))
            self._finished_otherwise -= {point.number for point in batch if self._is_finished(point)}
            for point in batch:
                if self._outcome(point).status == "finished":
                    self._after(point)

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
        return Outcome(point, self._kind.status(point.settings, returned is not None))

    def _show(self, outcomes: Sequence[Outcome]) -> None:
        console = Console(markup=False, emoji=False, highlight=False)
        console.print(self._kind.table(outcomes))
        for outcome in outcomes:
            if outcome.error is not None:
                console.print(printable(f"{outcome.point.swept} failed: {outcome.error}"), soft_wrap=True)
