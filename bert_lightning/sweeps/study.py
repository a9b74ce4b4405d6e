"""The study of a search: its trials in their order, kept so that another start of the command goes on with them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any, TypeVar

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from bert_lightning.callbacks.trial import PRUNED
from bert_lightning.settings.sweep_folder import (
    NotedStudy,
    SweepFolder,
    cut_torn_line,
    lacks_file,
    noted_study,
    open_storage,
    patiently,
    without_password,
)
from bert_lightning.sweeps.same_settings import is_same, may_change
from bert_lightning.sweeps.search_settings import Goal, SearchSettings
from bert_lightning.sweeps.search_space import SearchSpace, described, suggest

T = TypeVar("T")
SPACE, FIXED, METRIC, PROGRAM, EXHAUSTED = "space", "fixed", "metric", "program", "exhausted"
"""Names under which the study keeps what it is of, and the sampler that has tried everything."""
ERROR, SET_ASIDE = "error", "set_aside"
"""Names under which a trial keeps why it has failed, and why nothing trains it though it has not ended."""
LOST, LEFT = "lost", "left"
"""Why a trial is set aside: the machine has ended it, or it was told to stop, or left behind by an earlier start."""


class _Study(optuna.Study):
    """A study that a sampler can stop: Optuna's own only stops its own loop over trials."""

    is_stopped = False

    def stop(self) -> None:
        """Note that the sampler has tried everything."""
        self.is_stopped = True


class SearchStudy:
    """The study of a search, opened for asking and telling. A storage that is away is asked again for a minute.

    Args:
        folder: Folder of the search.
        name: Name of the study.
        settings: Settings of the sweeper.

    Raises:
        ValueError: if the folder is of another search, or holds one whose study is gone.
    """

    def __init__(self, folder: SweepFolder, name: str, settings: SearchSettings) -> None:
        self.noted = noted_study(folder, name, settings.storage)
        self.address = folder.storage(self.noted)
        self._settings = settings
        self._folder = folder
        self._has_begun = folder.study.exists() or bool(folder.trial_numbers())
        if self._has_begun and lacks_file(self.address):
            raise self._gone()
        cut_torn_line(self.address)
        self._storage = open_storage(self.address)

    def _gone(self) -> ValueError:
        return ValueError(
            f"{self._folder.path} holds the search {self.noted.name}, but hydra.sweeper.storage="
            f"{without_password(self.address)} has no study of that name with all its trials; bring the study back, "
            "or take another run_name"
        )

    def _speak(self, speak: Callable[[], T]) -> T:
        return patiently(self.address, speak)

    def begin(self, goal: Goal, space: SearchSpace, fixed: Mapping[str, str], program: Sequence[str]) -> None:
        """Begin the study, or go on with it.

        Args:
            goal: What the search is for.
            space: What it chooses from.
            fixed: The settings that all trials share, by key.
            program: How the command is started without --multirun.

        Raises:
            ValueError: naming what is not as at the first start, or an enqueued value that the space does not have, or
                a sampler that cannot work.
            MachineError: if the storage stays away.
        """
        enqueued = [space.check(each, "hydra.sweeper.enqueue") for each in self._settings.enqueue]
        self._space = space
        self._check_sampler(goal)
        self._speak(lambda: self._open(goal, space, fixed, program))
        for values in enqueued:
            self._speak(partial(self._study.enqueue_trial, values, skip_if_exists=True))
        for trial in self.trials:
            if trial.state == TrialState.RUNNING and trial.user_attrs.get(SET_ASIDE) is None:
                self.set_aside(trial.number, LEFT)

    def _open(self, goal: Goal, space: SearchSpace, fixed: Mapping[str, str], program: Sequence[str]) -> None:
        name = self.noted.name
        if self._has_begun and not self._is_kept():
            raise self._gone()
        optuna.create_study(study_name=name, storage=self._storage, direction=goal.direction, load_if_exists=True)
        self._study = _Study(name, self._storage, self._settings.make_sampler(0))
        if METRIC in self._study.user_attrs:
            self._check_own()
            self._check_same(goal, space, fixed)
        else:
            kept = {key: distribution_to_json(each) for key, each in space.distributions.items()}
            for key, value in ((SPACE, kept), (FIXED, dict(fixed)), (PROGRAM, list(program)), (METRIC, goal.metric)):
                self._study.set_user_attr(key, value)

    def _is_kept(self) -> bool:
        """Return whether the storage has the study with all trials that have folders."""
        try:
            study_id = self._storage.get_study_id_from_name(self.noted.name)
        except KeyError:
            return False
        has_all = max(self._folder.trial_numbers(), default=-1) < self._storage.get_n_trials(study_id)
        return has_all and METRIC in self._storage.get_study_user_attrs(study_id)

    def _check_sampler(self, goal: Goal) -> None:
        """Let the sampler suggest a few trials of a study that is thrown away: what it lacks it says only then."""
        storage = optuna.storages.InMemoryStorage()
        study = _Study(optuna.create_study(storage=storage, direction=goal.direction).study_name, storage)
        try:
            for number in range(3):
                study.sampler = self._settings.make_sampler(number, n_startup_trials=1)
                study.tell(study.ask(self._space.distributions), float(number))
        except Exception as error:
            said = " ".join(str(error).split())
            raise ValueError(
                f"hydra.sweeper.sampler={self._settings.sampler['_target_']} cannot work: {said}"
            ) from None

    def _check_own(self) -> None:
        """Raise a ValueError if the trials of a storage that several searches share are those of another folder."""
        is_shared = self.noted.storage is not None and self._folder.read_study() is None
        if is_shared and any(trial.state != TrialState.WAITING for trial in self._study.get_trials(deepcopy=False)):
            raise ValueError(
                f"hydra.sweeper.storage={without_password(self.address)} holds a search named {self.noted.name} "
                f"already, but {self._folder.path} is not its folder; take another run_name"
            )

    def _check_same(self, goal: Goal, space: SearchSpace, fixed: Mapping[str, str]) -> None:
        attributes = self._study.user_attrs
        directions = {StudyDirection.MINIMIZE: "minimize", StudyDirection.MAXIMIZE: "maximize"}
        before = {key: described(json_to_distribution(each)) for key, each in attributes[SPACE].items()}
        now = {key: described(each) for key, each in space.distributions.items()}
        was = {"sweep.metric": attributes[METRIC], "sweep.direction": directions[self._study.direction]}
        pairs = [({"sweep.metric": goal.metric, "sweep.direction": goal.direction}, was), (now, before)]
        for current, former in [*pairs, (dict(fixed), attributes[FIXED])]:
            for key in dict.fromkeys([*current, *former]):
                if not is_same(key, current.get(key), former.get(key)) and not may_change(key):
                    raise ValueError(
                        f"{key} was {former.get(key, 'not set')} when the search {self.noted.name} began, is "
                        f"{current.get(key, 'not set')}; another run_name begins another search"
                    )

    @property
    def opened(self) -> optuna.Study:
        """The study to look at."""
        return self._study

    def lacks_metric(self) -> bool:
        """Return whether a trial has failed because it does not measure the metric, and no other has measured it."""
        has_failed = any(str(trial.user_attrs.get(ERROR)).startswith("sweep.metric=") for trial in self.trials)
        others = (trial for trial in self.trials if trial.state != TrialState.FAIL)
        return has_failed and not any(trial.intermediate_values for trial in others)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by number; those that are only enqueued too."""
        return self._speak(lambda: self._study.get_trials(deepcopy=False))

    def trial(self, number: int) -> FrozenTrial:
        """Return a trial as it stands."""
        return next(trial for trial in self.trials if trial.number == number)

    def unfinished(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield number and values of the trials that have begun and not ended."""
        for trial in self.trials:
            if trial.state == TrialState.RUNNING:
                yield trial.number, self._speak(partial(self._complete, trial))

    def _complete(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the values of a trial; the command may have been killed before it had all of them."""
        if set(trial.params) != set(self._space.distributions):
            self._study.sampler = self._settings.make_sampler(trial.number)
            going_on = Trial(self._study, trial._trial_id)
            return {name: suggest(going_on, name, each) for name, each in self._space.distributions.items()}
        return dict(trial.params)

    def next_trial(self) -> tuple[int, dict[str, Any]] | None:
        """Begin a trial; returns its number and values, None if there are enough."""
        trials = self.trials
        waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        begun = {trial.number for trial in trials if trial.state != TrialState.WAITING}
        if len(begun) >= self._settings.n_trials or (self.is_exhausted() and not waiting):
            return None
        return self._speak(lambda: self._ask(begun))

    def _ask(self, begun: Set[int]) -> tuple[int, dict[str, Any]]:
        """Return the trial that has begun since; the first one to ask begins it."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in begun:
                return trial.number, self._complete(trial)
        self._study.sampler = self._settings.make_sampler(len(begun))
        asked = self._study.ask(self._space.distributions)
        return asked.number, dict(asked.params)

    def is_exhausted(self) -> bool:
        """Return whether the sampler has tried everything, at this start or an earlier one."""
        attributes = self._speak(lambda: self._study.user_attrs)
        return bool(attributes.get(EXHAUSTED) == dict(self._settings.sampler))

    def tell(self, number: int, value: float) -> None:
        """Note that a trial is complete, or failed if its value is not a finite number."""
        if math.isfinite(value):
            self._tell(number, value)
        else:
            self.fail(number, f"its last value is {value}, which is no finite number")

    def prune(self, number: int) -> None:
        """Note that a trial was pruned."""
        self._tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, error: str) -> None:
        """Note that a trial has failed, and why."""
        self._tell(number, state=TrialState.FAIL, error=error)

    def _tell(
        self, number: int, value: float | None = None, state: TrialState | None = None, error: str | None = None
    ) -> None:
        def tell() -> None:
            trial = self._study.get_trials(deepcopy=False)[number]
            if trial.state.is_finished():
                return  # a first try was heard, but not answered
            if error is not None:
                self._storage.set_trial_user_attr(trial._trial_id, ERROR, error)
            self._study.tell(number, value, state=state)

        self._speak(tell)
        if self._study.is_stopped:
            self._speak(lambda: self._study.set_user_attr(EXHAUSTED, dict(self._settings.sampler)))

    def is_pruned(self, number: int) -> bool:
        """Return whether a trial was told to stop by the pruner."""
        return bool(self.trial(number).user_attrs.get(PRUNED))

    def set_aside(self, number: int, why: str | None) -> None:
        """Note that nothing trains a trial that has not ended, and why; None takes it back."""
        trial = self.trial(number)
        if trial.user_attrs.get(SET_ASIDE) != why:
            self._speak(lambda: self._storage.set_trial_user_attr(trial._trial_id, SET_ASIDE, why))

    def lost(self) -> set[int]:
        """Return the numbers of the trials that the machine has ended and that have not gone on since."""
        unfinished = (trial for trial in self.trials if trial.state == TrialState.RUNNING)
        return {trial.number for trial in unfinished if trial.user_attrs.get(SET_ASIDE) == LOST}


def load_study(folder: SweepFolder, noted: NotedStudy) -> optuna.Study:
    """Return the study of a search to look at.

    Raises:
        ValueError: if it is not in its storage.
    """
    address = folder.storage(noted)
    missing = f"{without_password(address)} has no study named {noted.name}"
    if lacks_file(address):
        raise ValueError(missing)
    try:
        return optuna.load_study(study_name=noted.name, storage=open_storage(address))
    except KeyError:
        raise ValueError(missing) from None
