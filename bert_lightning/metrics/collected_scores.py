"""Scores of all examples of a split, collected batch by batch on every rank and put in the order of the examples."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bert_lightning.distributed.collectives import gather_objects
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.task_packing import rows_of_examples
from data_pipeline.tasks.encoded import EncodedExamples, taken_slices


@dataclass(frozen=True, slots=True)
class ExampleScores:
    """The scores of a split in the order of its examples.

    Attributes:
        values: Scores, (rows, scores of a row).
        cu_rows: First row of each example, and the end of the last, (examples + 1,).
    """

    values: NDArray[np.float32]
    cu_rows: NDArray[np.int64]

    def of(self, example: int) -> NDArray[np.float32]:
        """Return the scores of an example, (its rows, scores of a row)."""
        return self.values[self.cu_rows[example] : self.cu_rows[example + 1]]


class CollectedScores:
    """Collect this rank's scores; `gathered` puts those of all ranks together.

    Args:
        examples: The examples that are scored, each once over all ranks.
        score_rows: The `TaskObjective.score_rows` of the objective.
    """

    def __init__(self, examples: EncodedExamples, score_rows: str) -> None:
        self._cu_rows = rows_of_examples(examples, score_rows)
        self._examples: list[NDArray[np.int64]] = []
        self._values: list[Tensor] = []

    def add(self, batch: PackedBatch, scores: Tensor) -> None:
        """Keep the scores of one batch, filler left out; nothing is copied to the host yet."""
        examples = batch.sample_ids[: batch.num_examples].cpu().numpy().astype(np.int64)
        num_rows = int((self._cu_rows[examples + 1] - self._cu_rows[examples]).sum())
        self._examples.append(examples)
        values = scores[:num_rows].float()
        self._values.append(values if values.dim() == 2 else values.unsqueeze(1))  # (rows, scores of a row)

    def gathered(self) -> ExampleScores:
        """Return the scores of all ranks, on every rank; all ranks must call it."""
        values = torch.cat(self._values).cpu().numpy() if self._values else np.empty((0, 0), dtype=np.float32)
        parts = gather_objects((np.concatenate([*self._examples, np.empty(0, dtype=np.int64)]), values))
        examples = np.concatenate([part for part, _ in parts])
        rows, _ = taken_slices(self._cu_rows, examples)
        width = max(values.shape[1] for _, values in parts)
        ordered = np.zeros((int(self._cu_rows[-1]), width), dtype=np.float32)
        ordered[rows] = np.concatenate([values for _, values in parts if len(values)])
        return ExampleScores(ordered, self._cu_rows)
