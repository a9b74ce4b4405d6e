"""The settings of one run of a sweep, and what every sweep checks before it begins."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from bert_lightning.settings.slurm_step import has_terminal, tasks_of_srun


def check_started_once() -> None:
    """Raise a ValueError if several processes were started to run the same sweep."""
    if "TORCHELASTIC_RUN_ID" in os.environ or tasks_of_srun(os.environ, has_terminal()):
        raise ValueError(
            "--multirun was started by torchrun or srun, so every process would run it all; start it once: "
            "strategy=ddp starts the processes of every point, hydra/launcher=submitit_slurm makes it a job"
        )


def compose(loader: ConfigLoader, config: DictConfig, number: int, overrides: Sequence[str]) -> DictConfig:
    """Return the settings of a run, resolved as in its job.

    Args:
        loader: Hydra's loader of configs.
        config: The config of the sweep, without the overrides that are swept.
        number: Number of the run.
        overrides: All overrides of the run.
    """
    whole = loader.load_sweep_config(config, list(overrides))
    with open_dict(whole.hydra.job):
        whole.hydra.job.num, whole.hydra.job.id = number, str(number)
    with _current(whole):
        settings = whole.copy()
        with open_dict(settings):
            del settings["hydra"]
        return settings


@contextmanager
def _current(config: DictConfig) -> Iterator[None]:
    """Make a config the one that ${hydra:...} reads."""
    holder = HydraConfig.instance()
    before = holder.cfg
    holder.set_config(config)
    try:
        yield
    finally:
        holder.cfg = before
