"""The hidden folder in which an output is put together; what tasks deliver there is whole, whenever they are killed.

Every stage of a preparation has a folder of its own in it, whose name says what the stage is made of:

    .data.preparing/lock  read-<hash>/  unique-<hash>/  held-out-<hash>/  tokenizer-<hash>/  shards-<hash>/
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_pipeline.preparation.extracted_text import ExtractedText

LOCK_SECONDS = 5.0
"""How long a lock is waited for: after a kill, the system may take a moment to let go of it."""


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Where text, listings and the output of one preparation, or of one stage of it, lie until it is done."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and hold it against other preparations; ValueError where another one has it."""
        lock = FileLock(self.path / "lock", timeout=LOCK_SECONDS)
        while not lock.is_locked:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                raise ValueError(f"another bert-prepare is at work in {self.path}; wait until it has ended") from None
            except FileNotFoundError:  # the other one has just ended, and removed the folder
                continue
        try:
            yield
        finally:
            lock.release()

    def stage(self, name: str, settings: dict[str, Any]) -> "WorkFolder":
        """Return the folder of a stage that all of `settings` go into; a stage of others has another folder."""
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return WorkFolder(self.path / f"{name}-{key[:16]}")

    def keep(self, stages: Iterable["WorkFolder"]) -> None:
        """Remove the folders of all other stages."""
        kept = {stage.path for stage in stages}
        for folder in self.path.iterdir():
            if folder.is_dir() and folder not in kept:
                shutil.rmtree(folder)

    def has_finished_tasks(self) -> bool:
        """Tell whether any stage has something that a next run need not do again."""
        return any(self.path.glob("*/tasks/*/completions/*"))

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def folder(self, name: str) -> Path:
        """Return a folder inside, made where it is not there."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def text(self, name: str) -> ExtractedText:
        """Return a folder of text inside."""
        return ExtractedText(self.folder(name))

    @property
    def output(self) -> Path:
        """What will be the prepared folder."""
        return self.folder("output")

    def tasks(self, stage: str) -> Path:
        """Return where the executor remembers the finished tasks of a stage."""
        return self.path / "tasks" / stage

    def listing(self, number: int) -> Path:
        """Return the file in which a tokenising task lists its shards."""
        return self.folder("listings") / f"{number:05d}.json"

    @contextmanager
    def delivered(self) -> Iterator["WorkFolder"]:
        """Yield a folder of the caller's own; its files move to the same places in this one at the end, each whole.

        They are on the disk by then: what a finished task wrote is there after a power cut too. Where only the parent
        was killed, a process may still be at a task that the next run does again. Each then delivers the same bytes,
        and neither sees a file the other has half written.
        """
        own = WorkFolder(Path(tempfile.mkdtemp(dir=self.folder("scratch"))))
        yield own
        for file in sorted(path for path in own.path.rglob("*") if path.is_file()):
            target = self.path / file.relative_to(own.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            sync(file)
            file.replace(target)
        shutil.rmtree(own.path)


def sync(path: Path) -> None:
    """Wait until a file, or the list of files in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
