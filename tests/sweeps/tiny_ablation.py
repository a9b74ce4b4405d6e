"""Ablations of tiny runs in this process: real settings, real training, no process for each run."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from unittest.mock import patch

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from bert_lightning.finetune import finetune
from bert_lightning.pretrain import pretrain
from bert_lightning.sweeps.ablation import Ablation
from tests.support.configs import compose_config
from tests.support.settings import Settings, overrides


class HereLauncher:
    """Runs points in this process and keeps what it was asked to run.

    Args:
        before: Called with the number of every point before it trains; may raise.
    """

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self._before = before
        self.launched: list[str] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        (words,) = job_overrides
        settings = compose(None, OmegaConf.create(), initial_job_idx, words)
        self.launched.append(settings.run_name)
        job = JobReturn(overrides=list(words), status=JobStatus.COMPLETED)
        try:
            self._before(initial_job_idx)
            pretrain(settings)
        except ValueError as error:
            job.status, job.return_value = JobStatus.FAILED, error
        return [job]


def compose(loader: object, config: DictConfig, number: int, words: Sequence[str]) -> DictConfig:
    """Return the settings of a run, as `sweeps.composing.compose` does with Hydra's loader."""
    return _composed(*words).copy()


@cache
def _composed(*words: str) -> DictConfig:
    """Compose once what an ablation composes when it plans a run, when it trains the run, and at every start."""
    return compose_config("pretrain", words)


def finetune_words(words: Sequence[str]) -> None:
    """Do in this process what a command line of bert-finetune does in one of its own."""
    module, *settings = words[2:]
    assert module == "bert_lightning.finetune"
    finetune(compose_config("finetune", settings))


def ablate(given: Settings, launcher: HereLauncher | None = None, **sweeper: Any) -> dict[str, Any]:
    """Run an ablation and return the content of its ablation.json.

    Args:
        given: Settings of all runs.
        launcher: Trains the runs.
        sweeper: Settings of hydra.sweeper.
    """
    held_out = _composed("data.path=x", "+pairs@held_out=doc_sentences").held_out
    settings = {"seeds": 2, "tasks": None, "held_out": held_out} | sweeper
    logging = {"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO"}}
    hydra: dict[str, Any] = {
        "hydra_logging": logging,
        "verbose": False,
        "runtime": {"choices": {"logger": "csv"}, "config_sources": []},
    }
    hydra |= {"job": {"name": "pretrain", "config_name": "pretrain"}}
    hydra |= {"overrides": {"hydra": ["hydra/sweeper=ablation", "hydra.mode=MULTIRUN"], "task": ["run_name=masks"]}}
    config = OmegaConf.create({"hydra": hydra})
    context: Any = HydraContext(None, None)  # type: ignore[arg-type]
    with (
        patch("bert_lightning.sweeps.ablation.compose", compose),
        patch("bert_lightning.sweeps.variant_scores.run_process", finetune_words),
    ):
        ablation = Ablation(context, config, launcher or HereLauncher(), True, settings)  # type: ignore[arg-type]
        return ablation.run(overrides(given))
