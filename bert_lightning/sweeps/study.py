"""The study of a search: its trials in their order, kept so that another start of the command goes on with them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from bert_lightning.callbacks.trial import PRUNED
from bert_lightning.settings.sweep_folder import (
    NotedStudy,
    SweepFolder,
    cut_torn_line,
    naming,
    open_storage,
    patiently,
    without_password,
)
from bert_lightning.sweeps.same_settings import is_same, may_change
from bert_lightning.sweeps.search_settings import Goal, SearchSettings
from bert_lightning.sweeps.search_space import SearchSpace, described, suggest

SPACE, FIXED, METRIC, PROGRAM, EXHAUSTED, ERROR = "space", "fixed", "metric", "program", "exhausted", "error"
"""Names under which the study keeps what it is of, and the sampler that has tried everything; `ERROR` is a trial's."""


class _Study(optuna.Study):
    """A study that a sampler can stop: Optuna's own only stops its own loop over trials."""

    is_stopped = False

    def stop(self) -> None:
        """Note that the sampler has tried everything."""
        self.is_stopped = True


class SearchStudy:
    """The study of a search, opened for asking and telling.

    Args:
        folder: Folder of the search.
        name: Name of the study.
        settings: Settings of the sweeper.
    """

    def __init__(self, folder: SweepFolder, name: str, settings: SearchSettings) -> None:
        self.noted = NotedStudy(settings.storage, name)
        self.address = folder.storage(self.noted)
        self._settings = settings
        self._folder = folder
        cut_torn_line(self.address)
        self._storage = open_storage(self.address)

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
        """
        enqueued = [space.check(each, "hydra.sweeper.enqueue") for each in self._settings.enqueue]
        self._space = space
        self._check_sampler(goal)
        name = self.noted.name
        optuna.create_study(study_name=name, storage=self._storage, direction=goal.direction, load_if_exists=True)
        self._study = _Study(name, self._storage, self._settings.make_sampler(0))
        if METRIC in self._study.user_attrs:
            self._check_own()
            self._check_same(goal, space, fixed)
        else:
            kept = {key: distribution_to_json(each) for key, each in space.distributions.items()}
            for key, value in ((SPACE, kept), (FIXED, dict(fixed)), (PROGRAM, list(program)), (METRIC, goal.metric)):
                self._study.set_user_attr(key, value)
        for values in enqueued:
            self._study.enqueue_trial(values, skip_if_exists=True)

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
        if is_shared and any(trial.state != TrialState.WAITING for trial in self.trials):
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
        return patiently(self.address, lambda: self._study.get_trials(deepcopy=False))

    def unfinished(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield number and values of the trials that have begun and not ended."""
        for trial in self.trials:
            if trial.state == TrialState.RUNNING:
                yield trial.number, self._complete(trial)

    def _complete(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the values of a trial; the command may have been killed before it had all of them."""
        if set(trial.params) != set(self._space.distributions):
            self._study.sampler = self._settings.make_sampler(trial.number)
            going_on = Trial(self._study, trial._trial_id)
            return {name: suggest(going_on, name, each) for name, each in self._space.distributions.items()}
        return dict(trial.params)

    def next_trial(self) -> tuple[int, dict[str, Any]] | None:
        """Begin a trial; returns its number and values, None if there are enough."""
        waiting = sum(trial.state == TrialState.WAITING for trial in self.trials)
        begun = len(self.trials) - waiting
        if begun >= self._settings.n_trials or (self.is_exhausted() and not waiting):
            return None
        self._study.sampler = self._settings.make_sampler(begun)
        with naming(self.address):
            trial = self._study.ask(self._space.distributions)
        return trial.number, dict(trial.params)

    def is_exhausted(self) -> bool:
        """Return whether the sampler has tried everything, at this start or an earlier one."""
        return bool(self._study.user_attrs.get(EXHAUSTED) == dict(self._settings.sampler))

    def trial(self, number: int) -> FrozenTrial:
        """Return a trial as it stands."""
        return next(trial for trial in self.trials if trial.number == number)

    def tell(self, number: int, value: float) -> None:
        """Note that a trial is complete, or failed if its value is not a number."""
        if value != value:
            self.fail(number, "its metric is not a number")
        else:
            self._tell(number, value)

    def _tell(self, number: int, value: float | None = None, state: TrialState | None = None) -> None:
        with naming(self.address):
            self._study.tell(number, value, state=state)
        if self._study.is_stopped:
            self._study.set_user_attr(EXHAUSTED, dict(self._settings.sampler))

    def prune(self, number: int) -> None:
        """Note that a trial was pruned."""
        self._tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, error: str) -> None:
        """Note that a trial has failed, and why."""
        self._storage.set_trial_user_attr(self.trial(number)._trial_id, ERROR, error)
        self._tell(number, state=TrialState.FAIL)

    def is_pruned(self, number: int) -> bool:
        """Return whether a trial was told to stop by the pruner."""
        return bool(self.trial(number).user_attrs.get(PRUNED))


def load_study(folder: SweepFolder, noted: NotedStudy) -> optuna.Study:
    """Return the study of a search to look at.

    Raises:
        ValueError: if it is not in its storage.
    """
    address = folder.storage(noted)
    missing = f"{address} has no study named {noted.name}"
    if "://" not in address and not Path(address).exists():
        raise ValueError(missing)
    try:
        return optuna.load_study(study_name=noted.name, storage=open_storage(address))
    except KeyError:
        raise ValueError(missing) from None
