"""The folder of bert-finetune: a run folder for each seed, and what all seeds together have reached."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bert_lightning.settings.run_folder import RunFolder
from data_pipeline.untrusted.bounded_json import read_object
from data_pipeline.untrusted.typed_fields import checked, entry

SCORES = "scores.json"
VALIDATION = "validation"
"""Name of the split by which checkpoints are chosen."""


class FinetunedFolder:
    """What lies in the folder of a fine-tuning, and in the folder of each of its seeds.

    Args:
        path: The folder, which need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.scores = self.path / SCORES
        """The metrics; the file is written last, so a folder that has it is finished."""

    def predictions(self, split: str) -> Path:
        """Return the file with one line for each example of a split."""
        return self.path / ("predictions.jsonl" if split == VALIDATION else f"predictions_{split}.jsonl")

    def read_predictions(self, split: str) -> Iterator[Mapping[str, Any]]:
        """Yield the lines about the examples of a split, none if there is no file.

        Raises:
            ValueError: if a line is damaged.
        """
        path = self.predictions(split)
        if not path.exists():
            return
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{path}, line {number} is no JSON: {error}") from None
                if isinstance(content, dict):
                    yield content

    def read_scores(self) -> dict[str, Any] | None:
        """Return the content of scores.json, None if there is none.

        Raises:
            ValueError: if it is damaged.
        """
        return read_object(self.scores)


def best_checkpoint(path: Path) -> Path | None:
    """Return the best checkpoint of a fine-tuning, or of one of its seeds; None if the folder is neither.

    Args:
        path: Folder of bert-finetune, or of a seed.

    Raises:
        ValueError: if scores.json is damaged, or the checkpoint is no longer there.
    """
    scores = FinetunedFolder(path).read_scores()
    if scores is None:
        return None
    where = str(path / SCORES)
    named = checked(entry(scores, "checkpoint", where=where), str, where, "checkpoint")
    checkpoint = path / named
    if not checkpoint.resolve().is_relative_to(path.resolve()):
        raise ValueError(f"{where} names the checkpoint {named}, which is not in its folder")
    if not checkpoint.exists():
        raise ValueError(f"{where} names the checkpoint {named}, which does not exist")
    return checkpoint


def chosen_checkpoint(folder: RunFolder, newest: Path) -> Path:
    """Return the checkpoint that a run has noted as its best, its newest one if it has noted none."""
    return folder.best_checkpoint() or newest
