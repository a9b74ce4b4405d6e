"""Encoded examples of a task -> packed micro-batches, from memory; `collate` does the same for pre-training."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from data_pipeline.records import NO_LABEL
from data_pipeline.streams.collate import Rows, pad, sequence_ends
from data_pipeline.streams.packed_batch import PackedBatch, unpack_buffers
from data_pipeline.streams.packed_shape import FewShapes, PackedShape
from data_pipeline.tasks.encoded import EncodedExamples, EncodedTargets, taken_slices

TOKENS = "tokens"
"""Stands for a target of which every token is a row."""


class TaskPacker:
    """Lay out chosen examples as packed batches.

    Args:
        examples: The encoded examples.
        pin_memory: Put the buffers in page-locked memory, for copies to a GPU that do not wait.
    """

    def __init__(self, examples: EncodedExamples, pin_memory: bool = False) -> None:
        self.examples = examples
        self._pin_memory = pin_memory
        self._lengths = np.diff(examples.cu_seqlens)  # (sequences,)
        per_example = self._lengths.reshape(-1, examples.sequences_per_example)
        self.lengths: NDArray[np.int64] = per_example.sum(axis=1)
        """Tokens of each example, (examples,)."""
        self.longest = int(self._lengths.max(initial=1))
        """Tokens of the longest sequence."""
        self._usual_length = int(self._lengths.mean()) if len(self._lengths) else 1
        self._rows = {name: np.diff(target.cu_rows) for name, target in examples.targets.items()}  # (sequences,)

    def shape(self, num_examples: int, num_shapes: int | None = None) -> PackedShape:
        """Return the shape of batches that have room for so many examples.

        Args:
            num_examples: Examples of a batch at most.
            num_shapes: Most numbers of tokens that batches may have; None rounds them finely.
        """
        sizes = (num_examples * self.examples.sequences_per_example, self.longest, self._usual_length)
        if num_shapes is None:
            return PackedShape(*sizes)
        shares = [float((rows / self._lengths).max(initial=0.0)) for rows in self._rows.values()]
        deviation = float(self._lengths.std()) if len(self._lengths) else 0.0
        return FewShapes(*sizes, num_shapes, max(shares, default=0.0), length_deviation=deviation)

    def pack(self, batches: Sequence[Rows], sample_ids: Sequence[Rows], shape: PackedShape) -> list[PackedBatch]:
        """Return packed batches of examples.

        Args:
            batches: The examples of each batch.
            sample_ids: What identifies each of these examples, in the same arrangement.
            shape: Sizes of the batches.
        """
        sections = [part for rows, ids in zip(batches, sample_ids, strict=True) for part in self._one(rows, ids, shape)]
        buffer = torch.from_numpy(np.concatenate(sections, dtype=np.int32, casting="unsafe"))
        return unpack_buffers(buffer.pin_memory() if self._pin_memory else buffer, list(self.examples.targets))

    def _one(self, rows: Rows, sample_ids: Rows, shape: PackedShape) -> list[NDArray[np.integer]]:
        """Return the header and the arrays of one batch, in the order of `PackedBatch`."""
        per_example = self.examples.sequences_per_example
        sequences = (rows[:, None] * per_example + np.arange(per_example)).ravel()  # (sequences,)
        tokens, cu_seqlens = taken_slices(self.examples.cu_seqlens, sequences)  # (tokens,), (sequences + 1,)
        counts = {name: int(numbers[sequences].sum()) for name, numbers in self._rows.items()}
        num_tokens, num_rows = shape.sizes(len(tokens), max(counts.values(), default=0))
        ends = sequence_ends(cu_seqlens, num_tokens - len(tokens), shape)
        arrays: list[NDArray[np.integer]] = [
            pad(self.examples.input_ids[tokens], num_tokens, 0),
            np.arange(num_tokens) - np.repeat(ends[:-1], np.diff(ends)),
            pad(self.examples.token_type_ids[tokens], num_tokens, 0),
            ends,
            pad(sample_ids, shape.num_examples // per_example, -1),
        ]
        header = [shape.seq_len, len(tokens), len(rows)]
        for name, target in self.examples.targets.items():
            size = self._room(name, shape, num_rows)
            positions, labels = self._targets(target, self._rows[name], sequences, cu_seqlens)
            arrays += [pad(positions, size, 0), pad(labels.ravel(), size * target.labels_of_row, NO_LABEL)]
            header += [int(np.count_nonzero(labels[:, 0] != NO_LABEL)), 0]
        return [np.array([*(len(array) for array in arrays), *header]), *arrays]

    def _room(self, name: str, shape: PackedShape, num_rows: int) -> int:
        """Return how many rows of targets a batch has: one number for all batches if all sequences have equally many.

        So the rows of the choices of one question stay together, and shapes stay few.
        """
        rows = self._rows[name]
        is_constant = len(rows) > 0 and bool((rows == rows[0]).all())
        return int(rows[0]) * shape.num_examples if is_constant else num_rows

    @staticmethod
    def _targets(
        target: EncodedTargets, num_rows: NDArray[np.int64], sequences: Rows, cu_seqlens: NDArray[np.int64]
    ) -> tuple[NDArray[np.integer], NDArray[np.int32]]:
        """Return positions in the batch, (rows,), and labels, (rows, labels of a row), of chosen sequences."""
        chosen, _ = taken_slices(target.cu_rows, sequences)
        positions = target.positions[chosen] + np.repeat(cu_seqlens[:-1], num_rows[sequences])
        return positions, target.labels.reshape(-1, target.labels_of_row)[chosen]


def rows_of_examples(examples: EncodedExamples, target: str) -> NDArray[np.int64]:
    """Return the first row of each example, and the end of the last, among all rows of a target, (examples + 1,).

    Args:
        examples: The encoded examples.
        target: Name of the target, or `TOKENS` for one row a token.
    """
    rows: Mapping[str, NDArray[np.int64]] = {name: each.cu_rows for name, each in examples.targets.items()}
    of_sequences = examples.cu_seqlens if target == TOKENS else rows[target]
    return of_sequences[:: examples.sequences_per_example]
