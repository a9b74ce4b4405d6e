"""Sweepers and a launcher. Hydra looks for plugins in folders of this name only, and imports them for any command.

So nothing else of the project is imported before a sweep begins. `bert_lightning.sweeps` has the code.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class _LaunchingSweeper(Sweeper):
    """A sweeper with its settings and its launcher; a subclass sweeps.

    Args:
        params: Overrides by key, beside those of the command line.
        settings: The other settings.
    """

    def __init__(self, params: Mapping[str, Any] | None = None, **settings: Any) -> None:
        plain: Any = OmegaConf.to_container(OmegaConf.create(dict(params or {})), resolve=True)
        self.params: dict[str, Any] = plain
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what Hydra gives a sweeper."""
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def _given(self) -> tuple[HydraContext, DictConfig, Launcher, bool]:
        """Return what Hydra gave, and whether the launcher runs one job after another, in this thread."""
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        runs_one_by_one = isinstance(self.launcher, ProcessLauncher | BasicLauncher)
        return self.hydra_context, self.config, self.launcher, runs_one_by_one

    def _overrides(self, arguments: Sequence[str]) -> list[str]:
        """Return all overrides. A text among the parameters is in Hydra's words already, such as interval(0,1)."""
        from bert_lightning.sweeps.trial_overrides import as_override

        return [*(as_override(key, value) for key, value in self.params.items()), *arguments]


class PointSweeper(_LaunchingSweeper):
    """All combinations of the values that are swept, each in a folder of its own.

    Args:
        params: Overrides by key, beside those of the command line.
    """

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the sweep."""
        from bert_lightning.sweeps.sweep import Sweep

        sweep = Sweep(*self._given())
        return sweep.run(self._overrides(arguments))


class OptunaSweeper(_LaunchingSweeper):
    """Trials that Optuna suggests, until there are enough of them; conf/hydra/sweeper/optuna.yaml has the settings."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the search."""
        from bert_lightning.settings.sweep_folder import import_optuna

        import_optuna()
        from bert_lightning.sweeps.search import Search

        search = Search(*self._given(), self.settings)
        return search.run(self._overrides(arguments))


class AblationSweeper(_LaunchingSweeper):
    """Named settings, each trained with several seeds, and a table; see conf/hydra/sweeper/ablation.yaml."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the ablation."""
        from bert_lightning.sweeps.ablation import Ablation

        ablation = Ablation(*self._given(), self.settings)
        return ablation.run(self._overrides(arguments))


class ProcessLauncher(Launcher):
    """One point after another, each in a process of its own; the value of a job is its last val/loss."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what Hydra gives a launcher."""
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run points; a signal to this process ends the sweep."""
        from pathlib import Path

        from bert_lightning.sweeps.outcomes import results
        from bert_lightning.sweeps.point_process import PointFailedError, run_point

        returned = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            own = ("hydra.mode=", "hydra.sweeper.storage=")  # the latter may have a password, and lines are seen by all
            of_hydra = [each for each in self.config.hydra.overrides.hydra if not each.lstrip("+").startswith(own)]
            settings = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            job = JobReturn(overrides=filter_overrides(overrides), cfg=settings)
            try:
                run_point([*of_hydra, "hydra.mode=RUN", f"hydra.job.num={number}"], overrides)
                job.status, job.return_value = JobStatus.COMPLETED, results(Path(settings.run_dir)).last_loss
            except PointFailedError as error:
                job.status, job.return_value = JobStatus.FAILED, error
            returned.append(job)
        return returned
