"""The folder that a preparation writes: where it lies, what it holds already, and its content under its final name."""

import os
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.corpora.source_files import BAD_INPUT
from data_pipeline.preparation.work_folder import WorkFolder, sync
from data_pipeline.prepared.manifest import FILE_NAME, Manifest


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """A folder that is absent, empty, or prepared; what is built beside it takes its name at the end.

    Attributes:
        path: Path of the folder; it is not a link.
    """

    path: Path

    @classmethod
    def named(cls, path: Path) -> "OutputFolder":
        """Return the folder that a path leads to: a link's folder is replaced, on its own disk, and not the link."""
        return cls(path.resolve() if path.is_symlink() or path.name in ("", "..") else path)

    @property
    def work(self) -> WorkFolder:
        """Hidden folder beside the output, in which the output is built."""
        return WorkFolder(self.path.parent / f".{self.path.name}.preparing")

    @property
    def bad_input(self) -> Path:
        """File beside the output that lists bad input."""
        return self.path.with_name(f"{self.path.name}{BAD_INPUT}")

    def manifest(self) -> Manifest | None:
        """Return the manifest of the folder, None if there is none; ValueError if the output cannot take its place."""
        if (self.path / FILE_NAME).exists():
            return Manifest.load(self.path)
        if self.path.is_dir():
            self._check_place()
        if self.path.is_file() or (self.path.exists() and any(self.path.iterdir())):
            raise ValueError(f"output_dir={self.path} is not empty and not a prepared folder")
        return None

    def _check_place(self) -> None:
        """Check that the empty folder can be replaced by the finished one."""
        advice = f"; name a folder inside it, such as output_dir={self.path / 'data'}"
        if self.path.samefile(Path.cwd()):
            raise ValueError(
                f"output_dir={self.path} is the folder that the command runs in, which the finished folder cannot "
                f"replace{advice}"
            )
        if os.path.ismount(self.path):
            raise ValueError(
                f"output_dir={self.path} is the root of a mounted disk, which the finished folder cannot replace"
                f"{advice}"
            )

    def publish(self, built: Path) -> None:
        """Give a finished folder on the same disk the name of the output."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.path.rmdir()
        built.rename(self.path)
        sync(self.path.parent)
