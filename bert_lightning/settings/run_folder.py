"""The folder of a run: the names of its files, the order of its checkpoints, and the lock that admits one process.

W&B keeps its files in the same folder, in `wandb/`. The id of the W&B run is made once and kept beside them.
"""

import itertools
import json
import logging
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bert_lightning.settings.run_branch import Branch, read_branch
from data_pipeline.untrusted.typed_fields import shown

log = logging.getLogger(__name__)
META = "meta.pt"
"""Name of the file in a checkpoint folder that holds what is not sharded: the payload, the loops, the metrics."""
ABANDONED_SECONDS = 3600.0
"""Age at which what is not yet written counts as what a killed process has left."""
_WANDB_ID = r"[^\s/\\#?%:]{1,128}"
_WANDB_PART = re.compile(rf"(?:offline-)?run-(\d{{8}}_\d{{6}})-({_WANDB_ID})")


def partial_path(path: Path) -> Path:
    """Return the name that a file or a folder has while it is being written.

    >>> str(partial_path(Path("run/config.yaml")))
    'run/.config.yaml.partial'
    """
    return path.with_name(f".{path.name}.partial")


def write_whole(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a text file that is never seen half-written, though others may write the same one at the same time.

    Args:
        path: The file.
        text: Its content.
        mode: Who may read and write it, less what the umask takes away.
    """
    partial = partial_path(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))
    try:
        partial.touch(mode=mode)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_file_place(path: Path, setting: str = "output") -> None:
    """Raise a ValueError if a file cannot be written because of its place, before anything is computed.

    Args:
        path: The file.
        setting: The setting that names it.
    """
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{setting}={path} is in a folder that does not exist")
    if path.is_dir():
        raise ValueError(f"{setting}={path} is a folder; name a file")


def step_of(checkpoint: Path) -> int:
    """Return the step in the name of a checkpoint, -1 if the name has none.

    >>> step_of(Path("step-0000020.ckpt")), step_of(Path("model.ckpt"))
    (20, -1)
    """
    digits = checkpoint.stem.removeprefix("step-")
    return int(digits) if digits.isdecimal() else -1


class RunFolder:
    """What lies in the folder of one run.

    Args:
        path: The folder, which need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        """The settings, all of them resolved."""
        self.metrics = self.path / "metrics.csv"
        """One row a step, one column a metric."""
        self.quantities = self.path / "quantities.json"
        """How the metrics of the objective are shown."""
        self.about = self.path / "about.json"
        """What was run: the command, the environment, the data."""
        self.tables = self.path / "tables"
        """The newest table of each kind, such as guesses for held-out sentences."""
        self.profile = self.path / "profile" / "summary.json"
        """Where the time of a step goes, with `callbacks=profile`."""
        self.errors = self.path / "errors.json"
        """The confusion matrix and the worst errors of a fine-tuned model."""
        self.log = self.path / "run.log"
        """The messages of the run."""
        self.report = self.path / "report.html"
        """The page with curves and results."""
        self.checkpoints = self.path / "checkpoints"
        """The folder of the checkpoints."""
        self.best = self.checkpoints / "best.json"
        """Which checkpoint is the best, and by which metric."""
        self.digests = self.path / "digests.txt"
        """One line a step, the digest of its examples, with `callbacks=audit`."""
        self.branch_file = self.path / ".branch.json"
        """The last resume from a named checkpoint."""
        self.ended_file = self.path / ".ended"
        """The step at which the run has ended, with all that follows its last step; gone while it trains."""
        self.wandb = self.path / "wandb"
        """W&B's files."""
        self.wandb_id = self.path / "wandb_id"
        """The id of the W&B run."""

    def holds_a_run(self) -> bool:
        """Return whether a run has been trained here."""
        return self.metrics.exists() or self.checkpoints.exists()

    def wandb_run(self) -> str:
        """Return the id of the W&B run of this folder; the first call makes and keeps it.

        A folder from before ids were kept goes on in the run that the newest of its W&B files belong to.
        """
        kept = self.wandb_id.read_text(encoding="utf-8").strip() if self.wandb_id.exists() else ""
        if re.fullmatch(_WANDB_ID, kept):
            return kept
        parts = (_WANDB_PART.fullmatch(path.name) for path in self.wandb.glob("*"))
        dated = sorted(part.groups() for part in parts if part)
        made = dated[-1][1] if dated else secrets.token_hex(6)
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.wandb_id, made + "\n")
        return made

    def checkpoint(self, step: int) -> Path:
        """Return the checkpoint of a step."""
        return self.checkpoints / f"step-{step:07d}.ckpt"

    def saved(self) -> list[Path]:
        """Return the checkpoints that have been saved, by step, the newest last; some may be damaged.

        Those that the run has left behind by going back are none of them, even if they have not been moved yet.
        """
        branch = self.branch()
        left_behind = self.newer_than(branch.step) if branch is not None and not branch.complete else []
        return [path for path in self.newer_than(-1) if path not in left_behind]

    def newer_than(self, step: int) -> list[Path]:
        """Return all checkpoints of steps after a step, by step."""
        return sorted((path for path in self.checkpoints.glob("step-*.ckpt") if step_of(path) > step), key=step_of)

    def holds(self, checkpoint: Path) -> bool:
        """Return whether a path is one of a checkpoint of this run."""
        return checkpoint.resolve().parent == self.checkpoints.resolve()

    def branch(self) -> Branch | None:
        """Return the branch that the run is on; None if it has never begun from a named checkpoint."""
        return read_branch(self.branch_file)

    def note_branch(self, branch: Branch) -> None:
        """Record the branch that the run is on."""
        write_whole(self.branch_file, branch.text())

    def has_ended(self, step: int) -> bool:
        """Return whether the run has ended at a step, with its last validation, its report and its rows at W&B."""
        return self.ended_file.is_file() and self.ended_file.read_bytes() == f"{step}".encode()

    def note_end(self, step: int) -> None:
        """Record that the run has ended at a step."""
        write_whole(self.ended_file, f"{step}")

    def noted_best(self) -> dict[str, Any]:
        """Return what best.json says: the name of the best checkpoint and its metric, which may be NaN.

        Nothing if there is none, or if the file is damaged, which is said.
        """
        if not self.best.is_file():
            return {}
        try:
            noted: Any = json.loads(self.best.read_text(encoding="utf-8"))
            metrics = [value for name, value in noted.items() if name != "checkpoint"]
            if not (
                isinstance(noted.get("checkpoint"), str) and all(isinstance(each, int | float) for each in metrics)
            ):
                raise ValueError(f"it holds {shown(noted)}")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            log.warning("%s is damaged, so no checkpoint counts as the best: %s", self.best, error)
            return {}
        return noted

    def best_checkpoint(self) -> Path | None:
        """Return the best checkpoint, None if none is noted or it is there no more."""
        name = self.noted_best().get("checkpoint")
        return next((path for path in self.saved() if path.name == name), None)

    def set_aside(self, number: int) -> "RunFolder":
        """Return a folder for what the run has left behind, itself the folder of a run.

        Args:
            number: Number of the folder, from 1.
        """
        return RunFolder(self.path / "set-aside" / str(number))

    def next_set_aside(self) -> int:
        """Return the first number of a set-aside folder that does not exist yet."""
        return next(number for number in itertools.count(1) if not self.set_aside(number).path.exists())

    def leftovers(self) -> list[Path]:
        """Return what saves that were cut short have left, and what processes that were killed have, an hour later.

        Other processes write reports here.
        """
        before = time.time() - ABANDONED_SECONDS
        texts = [path for folder in (self.path, self.tables, self.checkpoints) for path in folder.glob(".*.partial")]
        saves = self.checkpoints.glob(".step-*.ckpt.partial")
        return sorted({*saves, *(path for path in texts if path.exists() and path.stat().st_mtime < before)})

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Write the messages of the project into the log of the run as well."""
        handler = logging.FileHandler(self.log, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        loggers = [logging.getLogger(package) for package in ("bert_lightning", "data_pipeline")]
        for logger in loggers:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
            handler.close()

    def is_held(self) -> bool:
        """Return whether another process trains here."""
        path = self.path / ".lock"
        if not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except (OSError, NotImplementedError):
            return False
        lock.release()
        return False

    @contextmanager
    def locked(self, wait_seconds: float = 30.0) -> Iterator[bool]:
        """Hold the folder, so that no second run overwrites its checkpoints and metrics.

        The kernel releases the lock when the process ends, however it ends. Yields whether another process held the
        folder before.

        Args:
            wait_seconds: How long to wait for another process, which may be about to end.

        Raises:
            ValueError: if another process holds the folder all the time.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock, has_waited = FileLock(self.path / ".lock"), False
        try:
            lock.acquire(timeout=0)
        except Timeout:
            has_waited = True
            log.warning("another process trains in %s; waiting %.0f s for its end", self.path, wait_seconds)
            try:
                lock.acquire(timeout=wait_seconds)
            except Timeout:
                raise ValueError(f"another process trains in {self.path}; end it, or take another run_name") from None
        except (OSError, NotImplementedError) as error:
            log.warning("%s cannot be locked, so make sure that no other run writes there: %s", self.path, error)
        try:
            yield has_waited
        finally:
            lock.release()
