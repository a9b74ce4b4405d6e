"""The folder of an ablation: its tables, and what has been measured of each of its runs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bert_lightning.settings.run_folder import write_whole
from data_pipeline.untrusted.bounded_json import read_object
from data_pipeline.untrusted.typed_fields import build

_HELD_OUT, _TASK = "held_out.json", "task.json"


class AblationFolder:
    """What lies in the folder of an ablation, besides the runs.

    Args:
        path: The folder, which need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.json = self.path / "ablation.json"
        """What has been reached, by variant, metric and seed."""
        self.markdown = self.path / "ablation.md"
        """The same as a table to read."""
        self.report = self.path / "report.html"
        """The page about the ablation."""

    def write(self, content: Mapping[str, Any], table: str) -> None:
        """Write both tables."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.json, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        write_whole(self.markdown, table)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run was measured to know.

    Attributes:
        run: Digest of the settings of the run.
        examples: Everything that decides the held-out examples, as JSON has it.
        means: Means over the examples.
    """

    run: str
    examples: dict[str, object]
    means: dict[str, float]


def read_measured(run_dir: Path, run: str, examples: Mapping[str, object]) -> dict[str, float] | None:
    """Return the held-out means of a run, None if they have not been measured with these settings.

    Args:
        run_dir: Folder of the run.
        run: Digest of the settings of the run.
        examples: Everything that decides the examples, as JSON has it.

    Raises:
        ValueError: if the file is damaged.
    """
    content = read_object(run_dir / _HELD_OUT)
    if content is None:
        return None
    noted = build(Measured, content, str(run_dir / _HELD_OUT))
    return noted.means if (noted.run, noted.examples) == (run, dict(examples)) else None


def write_measured(run_dir: Path, measured: Measured) -> None:
    """Keep what a run was measured to know."""
    write_whole(run_dir / _HELD_OUT, json.dumps(asdict(measured), indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class TaskNote:
    """What a run was fine-tuned with.

    Attributes:
        run: Digest of the settings of the run.
        settings: Settings of bert-finetune, as JSON has them.
    """

    run: str
    settings: dict[str, object]


def read_task(folder: Path) -> TaskNote | None:
    """Return what a run was fine-tuned with, None if the fine-tuning has not begun.

    Raises:
        ValueError: if the file is damaged.
    """
    content = read_object(folder / _TASK)
    return None if content is None else build(TaskNote, content, str(folder / _TASK))


def write_task(folder: Path, note: TaskNote) -> None:
    """Keep what a run is fine-tuned with."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _TASK, json.dumps(asdict(note), indent=1) + "\n")
