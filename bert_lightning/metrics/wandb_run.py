"""Weights & Biases: one run for each folder, kept offline if W&B cannot be used; training goes on without it.

The optimizer step is the step of W&B. Lightning's WandbLogger counts calls, which an offline resume begins again at 0.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from bert_lightning.metrics.wandb_account import refusal, wandb_key, wandb_server
from bert_lightning.metrics.wandb_checkpoints import check_uploads, upload_checkpoints
from bert_lightning.metrics.wandb_files import last_step, mark_uploaded, mend, wandb_parts
from bert_lightning.metrics.wandb_rows import STEP_AXIS, TOKEN_AXIS, WandbRows
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.sweep_folder import group_of
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.internals import check_internal

log = logging.getLogger(__name__)
INIT_SECONDS = 15.0
"""Longest time that the server may take to open a run."""
FINISH_SECONDS = 300.0
"""Longest time that the end of a run waits for its upload; the rest stays on disk for `wandb sync`."""
HURRIED_SECONDS = 20.0
"""The same for a run that was told to stop, or whose W&B has failed: the next launch sends the rest."""
_TITLE = 64
"""Characters of the title of an alert, at most."""


class WandbMetrics(WandbLogger):
    """Weights & Biases, online if somebody is logged in, else offline; WANDB_MODE decides if it is set.

    Whatever W&B raises is said once, and the run goes on without it; the next launch sends the rows that W&B lacks.

    Args:
        run_name: Name of the run.
        project: Name of the project.
        run_dir: Folder of the run, in which W&B keeps its files. It also keeps the id of the W&B run, so a resumed run
            continues its curves, and another folder never does.
        group: Name of the group; None for that of the sweep, or the fine-tuning, that the run belongs to.
        job_type: What the run is for, such as a phase of a project; None for nothing.
        tags: Words to find the run by.
        checkpoints: Which checkpoints are uploaded as artifacts when the run ends: "last", "best", "both"; None for
            none of them.
        **options: For `wandb.init`, such as entity or notes.
    """

    def __init__(
        self,
        run_name: str,
        project: str,
        run_dir: str | Path,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        checkpoints: str | None = None,
        **options: Any,
    ) -> None:
        check_uploads(checkpoints)
        if isinstance(tags, str):
            raise ValueError(f"logger.wandb.tags must be a list of words, such as [{tags}]; got {tags}")
        options |= {"group": group or group_of(run_name), "job_type": job_type, "tags": list(tags)}
        super().__init__(name=run_name, project=project, save_dir=run_dir, **options)
        for internal in ("_wandb_init", "_experiment"):
            check_internal(self, internal, "lightning 2.6.6")
        self._wandb_init.pop("anonymous", None)  # W&B warns about it even if it is None
        self._folder = RunFolder(run_dir)
        self.uploads = checkpoints
        self._rows: WandbRows | None = None
        self._awaited_step = -1
        self._is_left_out = self._is_hurried = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; if W&B cannot be used, an offline one, which `wandb sync` uploads later; once it fails, a dummy."""
        if self._is_left_out:
            return _DummyExperiment()
        if self._experiment is None:
            parts = wandb_parts(self._folder.wandb, self._folder.wandb_run())
            self._experiment = run = self._begin()
            self._rows = WandbRows(run, self._folder.metrics, self._continue(run, parts))
        return self._experiment

    @contextmanager
    def _left_out_if_it_fails(self) -> Iterator[None]:
        """Leave W&B out from its first error on: its process may have been killed, or its files cannot be written."""
        try:
            yield
        except Exception as error:  # whatever W&B raises, the run is worth more than its curves there
            said = "W&B is left out from here on; metrics.csv has everything, and the next launch sends it: %s"
            log.warning(said, _shown(error))
            run, self._experiment, self._rows, self._is_left_out = self._experiment, None, None, True
            if run is not None:
                _in_time(partial(_give_up, run), HURRIED_SECONDS)

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

    def _continue(self, run: Any, parts: Sequence[Path]) -> int:
        """Define the axes, and return the last step that W&B has from earlier parts of the run, -1 without any.

        A server knows what it has. What it lacks, because a part was kept offline, comes from metrics.csv, so that part
        is not to be uploaded any more.
        """
        if run.disabled:
            return -1
        run.define_metric(STEP_AXIS, hidden=True)
        run.define_metric(TOKEN_AXIS)
        run.define_metric("*", step_metric=STEP_AXIS)
        try:
            for part in parts:
                mend(part)
            if run.offline:
                return last_step(parts)
            if self._folder.metrics.exists():
                mark_uploaded(parts)
        except OSError as error:
            log.warning("earlier files of W&B cannot be read or written: %s", error)
        return run.starting_step - 1 if run.resumed else -1

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Add settings to the config of the run.

        Args:
            params: The settings, by name.
        """
        if not self._is_left_out:
            with self._left_out_if_it_fails():
                super().log_hyperparams(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add values, numbers or tables, to the row of a step.

        Raises:
            ValueError: if there is no step.
        """
        if step is None:
            raise ValueError("W&B needs the step of every value")
        with self._left_out_if_it_fails():
            _ = self.experiment
            if self._rows is not None:
                self._rows.add(metrics, step)

    @rank_zero_only
    def alert(self, title: str, text: str, level: str) -> None:
        """Have W&B send a message to who asked for it in its settings.

        Args:
            title: A few words.
            text: What has happened.
            level: "INFO", "WARN" or "ERROR".
        """
        with self._left_out_if_it_fails():
            self.experiment.alert(title[:_TITLE], text, level)

    def hurry(self) -> None:
        """Upload no checkpoint at the end, and wait for it only a little: the run was told to stop, and goes on."""
        self._is_hurried = True

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Note the step of a checkpoint that the run would go on from with a validation of the same step.

        Args:
            checkpoint_callback: The callback that has saved it.
        """
        self._awaited_step = checkpoint_callback.saved_step if checkpoint_callback.owes_validation else -1

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the W&B run, so that the next run of this process begins another one.

        Args:
            status: "success", or how else the run ended.
        """
        if self._experiment is None:
            return
        with self._left_out_if_it_fails():
            if self._rows is not None:
                self._rows.finish(self._awaited_step)
            if self.uploads is not None and not self._is_hurried and not self._experiment.disabled:
                upload_checkpoints(self._experiment, self._folder, self.uploads)
            finish = partial(self._experiment.finish, exit_code=int(status != "success"))
            _in_time(finish, HURRIED_SECONDS if self._is_hurried else FINISH_SECONDS)
        self._experiment = self._rows = None


def end_wandb_run(exit_code: int = 0, seconds: float = FINISH_SECONDS) -> None:
    """End the run of W&B that another logger has left open in this process, if there is one.

    Args:
        exit_code: 0 if the run has ended well.
        seconds: Longest time to wait for its upload.
    """
    run = getattr(sys.modules.get("wandb"), "run", None)
    if run is None:
        return
    try:
        _in_time(partial(run.finish, exit_code=exit_code), seconds)
    except Exception as error:
        log.warning("W&B has not ended its run: %s", _shown(error))


def _in_time(end: Callable[[], Any], seconds: float) -> None:
    """Wait for an end of W&B so long, since it cannot be told to wait less once a run has begun; raise what it raises.

    What has not been uploaded by then is on disk.
    """
    errors: list[Exception] = []

    def attempt() -> None:
        try:
            end()
        except Exception as error:
            errors.append(error)

    ending = threading.Thread(target=attempt, daemon=True)
    ending.start()
    ending.join(seconds)
    if errors:
        raise errors[0]
    if ending.is_alive():
        log.warning("W&B has not uploaded everything in %.0f s; the next launch, or `wandb sync`, sends it", seconds)


def _give_up(run: Any) -> None:
    """End a run that has failed, so that neither the next run of this process nor the end of the process fails too."""
    import wandb

    for end in (run.finish, wandb.teardown):
        with suppress(Exception):
            end()


def _shown(error: Exception) -> str:
    """Return the first line of an error."""
    return printable((str(error) or type(error).__name__).splitlines()[0])
