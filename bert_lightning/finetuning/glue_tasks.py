"""The tasks of GLUE in their official files, and the files that its server takes (Wang et al., 2019)."""

from collections.abc import Sequence
from pathlib import Path

from bert_lightning.finetuning.split_sources import SplitFiles
from bert_lightning.finetuning.task import Split
from bert_lightning.finetuning.text_classification import TextTask
from bert_lightning.finetuning.text_labels import ClassLabels, NumberLabels
from bert_lightning.finetuning.text_sources import GlueTexts
from bert_lightning.metrics.collected_scores import ExampleScores
from bert_lightning.settings.run_folder import write_whole
from data_pipeline.tasks.glue import GLUE_TASKS

SUBMISSIONS = {
    ("mnli", "test"): "MNLI-m.tsv",
    ("mnli", "mismatched_test"): "MNLI-mm.tsv",
    **{
        (name, split): f"{layout.folder}.tsv"
        for name, layout in GLUE_TASKS.items()
        for split in ("test", "official_test")
        if name != "mnli"
    },
}
"""Names of the files for the server, by task and split; `official_test` comes later and replaces the file of `test`."""
SIMILARITIES = ("mrpc", "stsb", "qqp")
"""Tasks whose labels do not depend on the order of the two texts."""
LOWEST_NUMBER, HIGHEST_NUMBER = 0.0, 5.0
"""What the server takes as a similarity."""


class GlueTextTask(TextTask):
    """A task of GLUE, which also writes its predictions of the test split for the server.

    Args:
        name: Name of the task in `GLUE_TASKS`.
        path: Folder of the task, or one that contains it.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
    """

    def __init__(self, name: str, path: Path, metrics: Sequence[str], chosen_by: str) -> None:
        classes = GLUE_TASKS[name].classes
        labels = ClassLabels(list(classes.values())) if classes else NumberLabels()
        super().__init__(name, GlueTexts(name, path), labels, metrics, chosen_by, name in SIMILARITIES)
        self._values = {label: value for value, label in classes.items()}

    def write_files(self, split: Split, scores: ExampleScores, folder: Path) -> None:
        """Write the file for the server if the split is a test split: index and prediction, as the task has them."""
        name = SUBMISSIONS.get((self.name, split.name))
        if name is None:
            return
        rows = ["index\tprediction"]
        for example, decided in zip(split.records, self.decisions(scores), strict=True):
            rows.append(f"{example.identifier}\t{self._value(decided)}")
        write_whole(folder / name, "\n".join(rows) + "\n")

    def _value(self, decided: str | float) -> str:
        """Return a prediction in the terms of the official files."""
        if isinstance(decided, str):
            return self._values[decided]
        return f"{min(max(decided, LOWEST_NUMBER), HIGHEST_NUMBER):.3f}"


def glue_task(name: str, files: SplitFiles, metrics: Sequence[str], chosen_by: str) -> GlueTextTask:
    """Return a task of GLUE in its official files.

    Args:
        name: Name of the task in `GLUE_TASKS`.
        files: The folder of the task, or one that contains it.
        metrics: Names of the metrics.
        chosen_by: The metric that the best checkpoint is chosen by.
    """
    return GlueTextTask(name, files.path, metrics, chosen_by)
