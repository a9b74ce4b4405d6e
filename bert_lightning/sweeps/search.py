"""A search: trials that Optuna suggests, each a run in a folder of its own, until there are enough of them."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import configure_log
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bert_lightning.callbacks.trial import ENDED, TOLD_TO_STOP
from bert_lightning.reports.trial_row import TrialRow, shown
from bert_lightning.settings.config import check_run_name
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.started_command import started_by
from bert_lightning.settings.sweep_folder import SweepFolder
from bert_lightning.sweeps.composing import check_started_once, compose
from bert_lightning.sweeps.folder_kinds import SEARCH, check_kind
from bert_lightning.sweeps.search_end import end_status, show_search
from bert_lightning.sweeps.search_settings import check_measured, read_goal, read_settings
from bert_lightning.sweeps.search_space import search_space
from bert_lightning.sweeps.study import LEFT, LOST, SearchStudy
from bert_lightning.sweeps.sweep_files import SearchFiles
from bert_lightning.sweeps.trial_overrides import as_trial, by_key
from bert_lightning.sweeps.trial_rows import TrialRows, end_value, is_held
from bert_lightning.sweeps.trial_slots import Ended, EndingSignals, OneByOne, SideBySide, Slots
from bert_lightning.sweeps.winner import BaseConfig, as_config, base_config, winners_line
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""How long a search that ends waits for jobs that have not begun to train."""
MOST_LOST = 2
"""Trials that may be lost in a row before they have reported anything."""
Values = dict[str, Any]


class Search:
    """A search from its overrides to its table.

    Args:
        context: Hydra's loader of configs.
        config: The config of the search, without the overrides that are searched.
        launcher: Runs trials.
        in_turn: Whether the launcher runs one job after another, in this thread.
        given: The settings of the sweeper.
    """

    def __init__(
        self, context: HydraContext, config: DictConfig, launcher: Launcher, in_turn: bool, given: Mapping[str, Any]
    ) -> None:
        self._loader = context.config_loader
        self._config = config
        self._launcher = launcher
        self._in_turn = in_turn
        self._settings = read_settings(given)
        if in_turn and self._settings.n_jobs > 1:
            raise ValueError(
                f"hydra.sweeper.n_jobs={self._settings.n_jobs} needs a launcher that makes jobs, such as "
                f"hydra/launcher=submitit_local; {type(launcher).__name__} runs one after another"
            )
        self._slots: Slots = OneByOne() if in_turn else SideBySide(self._settings.n_jobs)
        self._left: set[int] = set()
        self._lost_in_a_row = 0
        self._errors: dict[tuple[Any, ...], str | None] = {}
        self._ends = False
        self._status = 0

    def run(self, arguments: Sequence[str]) -> list[TrialRow]:
        """Search, show the table and return the trials.

        Args:
            arguments: Overrides, those that are searched among them.

        Raises:
            SystemExit: with status 75 if a trial was lost, with 1 if none is complete and none goes on, or with that
                of a shell for a signal that ended the search.
            ValueError: if the search cannot begin, or is not the one that has begun in its folder.
        """
        check_started_once()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        overrides = OverridesParser.create(config_loader=self._loader).parse_overrides(list(arguments))
        self._space = search_space(overrides)
        self._base = compose(self._loader, self._config, 0, self._space.fixed)
        self._goal = read_goal(self._base)
        self._folder = SweepFolder(self._base.run_dir)
        self._rows = TrialRows(self._folder)
        keeps_all = self._settings.keep_weights == "all"
        self._files = SearchFiles(self._folder, self._goal.direction, keeps_all, self._as_config)
        check_run_name(name := str(self._base.run_name))
        check_kind(self._folder.path, name, SEARCH)
        check_measured(self._base)
        with RunFolder(self._folder.path).locked(wait_seconds=2.0):
            self._study = SearchStudy(self._folder, name, self._settings)
            self._study.begin(self._goal, self._space, by_key(self._space.fixed), started_by(self._config.hydra))
            self._folder.write_study(self._study.noted)
            self._lost_before = self._study.lost()
            self._folder.stop.unlink(missing_ok=True)
            with self._time_limit(), nullcontext() if self._in_turn else EndingSignals():
                self._search()
        rows = self._write()  # a trial that has not ended is stopped, now that the search does not hold the folder
        line = winners_line(self._config.hydra, self._folder.path, "winner")
        show_search(rows, self._goal, self._folder, line)
        if status := self._status or end_status(rows, bool(self._study.lost())):
            sys.exit(status)
        return rows

    @contextmanager
    def _time_limit(self) -> Iterator[None]:
        """Have the trials save and end when the time is over."""
        if self._settings.seconds is None:
            yield
            return
        timer = threading.Timer(self._settings.seconds, self._folder.stop.touch)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _search(self) -> None:
        """Run trials until there are enough, or the search is told to end."""
        try:
            while True:
                self._fill_slots()
                if not self._slots.running():
                    return
                while (done := self._slots.wait(POLL_SECONDS)) is None and not self._is_ending():
                    continue
                if done is not None:
                    self._judge(done)
                if self._is_ending():
                    break
        except KeyboardInterrupt:
            self._status = 128 + signal.SIGINT
        except SystemExit as stop:
            self._status = stop.code if isinstance(stop.code, int) else 1
        self._ends = True
        self._wait_for_the_running()

    def _fill_slots(self) -> None:
        while self._slots.is_free() and not self._is_ending():
            chosen = next(self._to_go_on(), None) or self._study.next_trial()
            if chosen is None:
                return
            self._begin(*chosen)

    def _to_go_on(self) -> Iterator[tuple[int, Values]]:
        """Yield the trials of earlier starts that have not ended; those that have are taken note of."""
        for number, values in list(self._study.unfinished()):
            if number not in self._slots.running() | self._left and not self._settle(number):
                yield number, values

    def _is_ending(self) -> bool:
        return self._ends or self._folder.stop.exists()

    def _begin(self, number: int, values: Values) -> None:
        """Begin or continue a trial; settings that cannot work are its failure."""
        overrides = self._overrides(number, values)
        if error := self._error_of(number, values, overrides):
            self._study.fail(number, error)
            return
        chosen = " ".join(f"{key}={shown(value)}" for key, value in values.items())
        log.info("trial %d of %d: %s in %s", number, self._settings.n_trials, chosen, self._folder.trial(number))
        self._study.set_aside(number, None)
        self._files.write_table(self._rows(self._study.trials))

        def job() -> Any:
            if self._is_held(number):
                return self._outlast(number)
            return self._launcher.launch([overrides], number)[0]

        self._slots.start(number, job)

    def _error_of(self, number: int, values: Values, overrides: Sequence[str]) -> str | None:
        """Return why the settings of a trial cannot be composed; numbers make no difference to that."""
        words = tuple(value for value in values.values() if not isinstance(value, float))
        if words not in self._errors:
            try:
                compose(self._loader, self._config, number, overrides)
                self._errors[words] = None
            except (ValueError, HydraException, OmegaConfBaseException) as error:
                self._errors[words] = " ".join(str(error).split())
        return self._errors[words]

    def _overrides(self, number: int, values: Values) -> list[str]:
        """Return all overrides of a trial."""
        report: Values = {"metric": self._goal.metric, "pruner": self._settings.pruner}
        name, seed = str(self._base.run_name), self._base.seed
        return [*self._space.overrides(values), *as_trial(self._folder, report, name, number, seed)]

    def _is_held(self, number: int) -> bool:
        return is_held(self._folder.trial(number))

    def _outlast(self, number: int) -> None:
        """Wait for the process of a trial that an earlier start of the search has left behind."""
        log.info("trial %d still trains in a process of an earlier start; waiting for its end", number)
        while self._is_held(number):
            time.sleep(POLL_SECONDS)

    def _judge(self, done: Ended) -> None:
        """Note what has become of a trial; one that is neither ended nor failed goes on later."""
        number, in_a_row, self._lost_in_a_row = done.number, self._lost_in_a_row, 0
        if self._settle(number) or self._is_held(number):
            pass
        elif done.error is not None and not done.was_killed:
            self._study.fail(number, done.error)
            log.info("trial %d failed: %s", number, printable(done.error))
        elif done.error is not None:
            self._lost_in_a_row = in_a_row + self._lose(number, printable(done.error))
        elif done.waited:
            pass  # the process that an earlier start had left behind has ended: the trial goes on at once
        elif self._was_told_to_stop(number):
            self._set_aside(number, LEFT, "was told to stop")
            self._ends = self._ends or self._in_turn
        else:
            self._study.fail(number, f"its run has ended without a value of sweep.metric={self._goal.metric}")
        if not self._ends and self._study.lacks_metric():
            self._ends, self._status = True, 1
            log.info("the search ends: no trial has measured sweep.metric=%s", self._goal.metric)
        if not self._ends and self._lost_in_a_row >= MOST_LOST:
            self._ends = True
            log.info("the search ends: %d trials in a row were lost before their first report", MOST_LOST)
        self._write()

    def _was_told_to_stop(self, number: int) -> bool:
        return self._study.trial(number).user_attrs.get(ENDED) == TOLD_TO_STOP or self._folder.stop.exists()

    def _settle(self, number: int) -> bool:
        """Take note of a trial that was pruned or has come to its end; returns whether it was."""
        if self._study.is_pruned(number):
            self._study.prune(number)
            return True
        try:
            value = end_value(self._study.trial(number), self._folder.trial(number), self._goal, "task" in self._base)
        except ValueError as error:
            self._study.fail(number, str(error))
            return True
        if value is not None:
            self._study.tell(number, value)
        return value is not None

    def _set_aside(self, number: int, why: str, said: str) -> None:
        """Leave a trial that was stopped or killed to the next start."""
        self._left.add(number)
        self._study.set_aside(number, why)
        log.info("trial %d %s; the same line with the same run_name goes on with it", number, said)

    def _lose(self, number: int, error: str) -> bool:
        """Set a lost trial aside; returns whether it is one that has shown nothing, at this start for the first time.

        A machine that loses such trials loses all of them, so the search ends after a few. A trial that an earlier
        start has lost may be at fault itself, as one that needs too much memory is.
        """
        self._set_aside(number, LOST, f"was lost: {error}")
        return number not in self._lost_before and not self._study.trial(number).intermediate_values

    def _wait_for_the_running(self) -> None:
        """After a signal: have the trials that train save and end."""
        if not self._slots.running() or self._in_turn:
            return
        log.info("the search ends: its trials save; Ctrl-C again does not wait for them")
        self._folder.stop.touch()
        idle_since = time.monotonic()
        try:
            while (running := self._slots.running()) and time.monotonic() - idle_since < PATIENCE_SECONDS:
                if any(map(self._is_held, running)):
                    idle_since = time.monotonic()
                done = self._slots.wait(POLL_SECONDS)
                if done is not None:
                    self._judge(done)
        except (KeyboardInterrupt, SystemExit):
            pass  # the status is that of the first signal

    def _write(self) -> list[TrialRow]:
        """Write what the search has reached so far."""
        rows = self._rows(self._study.trials)
        self._files.write(self._study.opened, rows)
        return rows

    def _as_config(self, row: TrialRow) -> tuple[str, BaseConfig]:
        """Return the config of a trial, and what that is built upon."""
        hydra, overrides = self._config.hydra, self._space.overrides(row.values)
        base, settings = base_config(hydra), compose(self._loader, self._config, row.number, overrides)
        metric, folder = self._goal.metric, self._folder.path
        return as_config(row, metric, hydra, base, overrides, settings, self._loader, folder), base
