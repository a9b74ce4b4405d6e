"""The hidden folder in which an output is put together; what tasks deliver there is whole, whenever they are killed."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.extracted_text import ExtractedText


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Where text, listings and the output of one preparation lie until it is done."""

    path: Path

    def open(self, settings: dict[str, Any]) -> None:
        """Continue where the folder is of the same preparation, else empty it and begin."""
        record = self.path / "settings.json"
        if record.is_file() and json.loads(record.read_text()) == settings:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        (self.path / "scratch").mkdir()
        record.write_text(json.dumps(settings))

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

        Where only the parent was killed, a process may still be at a task that the next run does again. Each then
        delivers the same bytes, and neither sees a file the other has half written.
        """
        own = WorkFolder(Path(tempfile.mkdtemp(dir=self.folder("scratch"))))
        yield own
        for file in sorted(path for path in own.path.rglob("*") if path.is_file()):
            target = self.path / file.relative_to(own.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        shutil.rmtree(own.path)
