"""The hidden folder in which an output is built; the files of a task appear there whole, even if tasks are killed.

Each stage of a preparation has a subfolder; its name holds a hash of the settings that decide the stage:

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
"""Seconds to wait for the lock: after a kill, the system may take a moment to release it."""


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Folder of the text, listings and output of a preparation, or of one of its stages.

    Attributes:
        path: Path of the folder.
    """

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and lock it; ValueError if another preparation holds the lock."""
        lock = FileLock(self.path / "lock", timeout=LOCK_SECONDS)
        while not lock.is_locked:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                raise ValueError(f"another bert-prepare is at work in {self.path}; wait until it has ended") from None
            except FileNotFoundError:  # the other preparation has just ended and removed the folder
                continue
        try:
            yield
        finally:
            lock.release()

    def stage(self, name: str, settings: dict[str, Any]) -> "WorkFolder":
        """Return the folder of a stage; stages with other settings have other folders."""
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return WorkFolder(self.path / f"{name}-{key[:16]}")

    def keep(self, stages: Iterable["WorkFolder"]) -> None:
        """Remove the folders of all other stages, and the scratch folders that failed or killed tasks have left."""
        kept = {stage.path for stage in stages}
        for folder in [folder for folder in self.path.iterdir() if folder.is_dir()]:
            if folder not in kept:
                shutil.rmtree(folder)
            elif (scratch := folder / "scratch").exists():
                # A task that still runs loses all of its files at once, so it fails and is not recorded as finished.
                shutil.rmtree(scratch.rename(self.path / f"scratch-of-{folder.name}"))

    def has_finished_tasks(self) -> bool:
        """Return whether any stage has a finished task, which the next run skips."""
        return any(self.path.glob("*/tasks/*/completions/*"))

    def remove(self) -> None:
        """Remove the folder and its content."""
        shutil.rmtree(self.path, ignore_errors=True)

    def folder(self, name: str) -> Path:
        """Return a subfolder; it is made if it is missing."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def text(self, name: str) -> ExtractedText:
        """Return a subfolder of extracted text."""
        return ExtractedText(self.folder(name))

    @property
    def output(self) -> Path:
        """Folder that becomes the prepared folder."""
        return self.folder("output")

    def tasks(self, stage: str) -> Path:
        """Return the folder in which the executor records the finished tasks of a stage."""
        return self.path / "tasks" / stage

    def listing(self, number: int) -> Path:
        """Return the file in which a task of tokenization lists its shards."""
        return self.folder("listings") / f"{number:05d}.json"

    @contextmanager
    def delivered(self) -> Iterator["WorkFolder"]:
        """Yield a scratch folder, and move its files to the same relative paths in this folder at the end.

        Each file is moved whole, and after it is on the disk, so finished work survives a power cut. If only the parent
        was killed, a process may still run a task that the next run does again. Both then deliver the same bytes, and
        neither reads a file that the other has half written.
        """
        scratch = WorkFolder(Path(tempfile.mkdtemp(dir=self.folder("scratch"))))
        try:
            yield scratch
        except BaseException:
            shutil.rmtree(scratch.path, ignore_errors=True)
            raise
        for file in sorted(path for path in scratch.path.rglob("*") if path.is_file()):
            target = self.path / file.relative_to(scratch.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            sync(file)
            file.replace(target)
        shutil.rmtree(scratch.path)


def copy_to_disk(source: Path, target: Path) -> None:
    """Copy a folder and wait until its files are on the disk."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    for file in target.rglob("*"):
        sync(file)


def sync(path: Path) -> None:
    """Wait until a file, or the list of files in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
