"""The examples of a fine-tuning task as token ids, all of them in memory, ready to be packed into batches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LABELS = "labels"
"""Name of the targets of tasks with one label a text."""
FIRST, LAST, BOTH_ORDERS = "first", "last", "both_orders"
"""What a head reads of a text: its first token, [CLS]; its last one, which is all that a causal model can have read the
text at; or the last tokens of a pair in both orders, whose scores are added."""


@dataclass(frozen=True, slots=True)
class EncodedTargets:
    """One kind of question about the sequences; `packing.Targets` is the same question in a batch.

    Attributes:
        positions: Index of the token whose hidden state is read, counted from the begin of its sequence, (rows,).
        labels: The answers, `NO_LABEL` for rows without one, int32, (rows * labels of a row,). Numbers, such as
            similarities, are the bits of float32.
        cu_rows: First row of each sequence, and the end of the last, (sequences + 1,).
    """

    positions: NDArray[np.int32]
    labels: NDArray[np.int32]
    cu_rows: NDArray[np.int64]

    @property
    def labels_of_row(self) -> int:
        """Labels of each row; 1 if there is no row."""
        return len(self.labels) // len(self.positions) if len(self.positions) else 1


@dataclass(frozen=True, slots=True)
class EncodedExamples:
    """Sequences with special tokens, one after another.

    Attributes:
        input_ids: Token ids, (tokens,).
        token_type_ids: 0 for [CLS] A [SEP], 1 for B [SEP], (tokens,).
        cu_seqlens: Begin of each sequence, and the end of the last, (sequences + 1,).
        targets: What is asked, by name.
        sequences_per_example: Sequences that only make sense together, such as the choices of one question.
    """

    input_ids: NDArray[np.int32]
    token_type_ids: NDArray[np.int8]
    cu_seqlens: NDArray[np.int64]
    targets: dict[str, EncodedTargets]
    sequences_per_example: int = 1

    def __len__(self) -> int:
        """Return the number of examples."""
        return (len(self.cu_seqlens) - 1) // self.sequences_per_example

    def take(self, examples: NDArray[np.int64]) -> "EncodedExamples":
        """Return some of the examples, in the order that is given, (examples,)."""
        sequences = examples[:, None] * self.sequences_per_example + np.arange(self.sequences_per_example)
        tokens, cu_seqlens = taken_slices(self.cu_seqlens, sequences.ravel())
        targets = {}
        for name, target in self.targets.items():
            rows, cu_rows = taken_slices(target.cu_rows, sequences.ravel())
            labels = target.labels.reshape(-1, target.labels_of_row)[rows].ravel()
            targets[name] = EncodedTargets(target.positions[rows], labels, cu_rows)
        ids, types = self.input_ids[tokens], self.token_type_ids[tokens]
        return EncodedExamples(ids, types, cu_seqlens, targets, self.sequences_per_example)


def taken_slices(offsets: NDArray[np.int64], chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of chosen slices, one slice after another, and the offsets that they have then.

    >>> indices, ends = taken_slices(np.array([0, 3, 5, 9]), np.array([2, 0]))
    >>> indices.tolist(), ends.tolist()
    ([5, 6, 7, 8, 0, 1, 2], [0, 4, 7])

    Args:
        offsets: Begin of each slice, and the end of the last, (slices + 1,).
        chosen: The slices, in the order wanted, (chosen,).
    """
    ends = np.concatenate([[0], np.cumsum(offsets[chosen + 1] - offsets[chosen])])
    return np.arange(ends[-1]) + np.repeat(offsets[chosen] - ends[:-1], np.diff(ends)), ends
