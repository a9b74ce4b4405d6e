"""Weights & Biases: one run for each folder, kept offline if W&B cannot be used; training never waits for it.

The optimizer step is the only axis. Lightning's WandbLogger counts calls, which an offline resume begins again at 0.
"""

import logging
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import requests
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from bert_lightning.settings.run_folder import RunFolder
from data_pipeline.internals import check_internal
from data_pipeline.untrusted.escaping import printable

log = logging.getLogger(__name__)
ANSWER_SECONDS = 5.0
"""Longest time that the server may take for its first answer."""
INIT_SECONDS = 30.0
"""Longest time that the server may take to open a run."""
FINISH_SECONDS = 300.0
"""Longest time that the end of a run waits for its upload; the rest stays on disk for `wandb sync`."""


def wandb_server() -> str:
    """Return the address of the server that W&B talks to."""
    import wandb

    return os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url


def wandb_key() -> str | None:
    """Return the key that W&B finds: in the environment, or in the file that `wandb login` writes; None without one."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    # Older versions of wandb wrote the key of the public server under another name.
    public = [] if os.environ.get("WANDB_BASE_URL") else ["api.wandb.ai"]
    try:
        kept = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return None
    found = (kept.authenticators(host) for host in (urlparse(wandb_server()).netloc, *public))
    return next((entry[2] for entry in found if entry), None)


def refusal(address: str, key: str, seconds: float = ANSWER_SECONDS) -> str | None:
    """Return why a server cannot be used: it does not answer, or not to this key. None if it may be tried.

    Args:
        address: The server's URL.
        key: The key of an account.
        seconds: Longest time to connect, and to wait for the answer.
    """
    question = {"query": "{ viewer { id } }"}
    try:
        answer = requests.post(f"{address}/graphql", json=question, auth=("api", key), timeout=seconds)
    except requests.RequestException as error:
        return f"{address} does not answer ({type(error).__name__})"
    return f"{address} does not take the key" if answer.status_code in (401, 403) else None


class WandbMetrics(WandbLogger):
    """Weights & Biases, online if somebody is logged in, else offline; WANDB_MODE decides if it is set.

    Args:
        run_name: Name of the run. If it has a folder, as the points of a sweep have, the folder names its group.
        project: Name of the project.
        run_dir: Folder of the run, in which W&B keeps its files. It also keeps the id of the W&B run, so a resumed run
            continues its curves, and another folder never does.
        **options: For `wandb.init`, such as entity, group or tags.
    """

    def __init__(self, run_name: str, project: str, run_dir: str | Path, **options: Any) -> None:
        options = {"group": run_name.rpartition("/")[0] or None} | options
        super().__init__(name=run_name, project=project, save_dir=run_dir, **options)
        for internal in ("_wandb_init", "_experiment"):
            check_internal(self, internal, "lightning 2.6.6")
        self._wandb_init.pop("anonymous", None)  # W&B warns about it even if it is None
        self._folder = RunFolder(run_dir)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; if W&B cannot be used, an offline one, which `wandb sync` uploads later."""
        if self._experiment is None:
            self._experiment = self._begin()
        return self._experiment

    def _begin(self) -> Any:
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb_key() else "offline")
        reason = "WANDB_MODE=offline" if os.environ.get("WANDB_MODE") else "no key (WANDB_API_KEY or `wandb login`)"
        if mode == "online":
            run, reason = self._online()
            if run is not None:
                return run
            mode = "offline"
        try:
            run = self._init(mode)
        except Exception as error:  # whatever W&B raises, the run is worth more than its curves there
            log.warning("W&B is left out, metrics.csv has everything: %s", _shown(error))
            return self._init("disabled")
        if mode == "offline":
            parts = self._folder.path / "wandb" / f"offline-run-*-{run.id}"
            log.info("W&B: %s, so the run is kept offline; upload it with: wandb sync %s", reason, parts)
        return run

    def _online(self) -> tuple[Any, str]:
        """Return an online run; if there is none, None and the reason."""
        import wandb

        key = wandb_key()
        if key and (problem := refusal(wandb_server(), key)):
            return None, problem
        try:
            return self._init("online"), ""
        except Exception as error:
            wandb.teardown()  # a run that could not be opened holds its id until then
            return None, _shown(error)

    def _init(self, mode: str) -> Any:
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        logging.getLogger("opentelemetry").setLevel(
            logging.CRITICAL
        )  # W&B's telemetry, which a wrong key stops as well
        settings = wandb.Settings(console="off", silent=True, init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS)
        return wandb.init(settings=settings, **(self._wandb_init | {"id": self._folder.wandb_run(), "mode": mode}))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values at a step."""
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the W&B run, so that the next run of this process begins another one.

        Args:
            status: "success", or how else the run ended.
        """
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


def _shown(error: Exception) -> str:
    """Return the first line of an error."""
    return printable((str(error) or type(error).__name__).splitlines()[0])
