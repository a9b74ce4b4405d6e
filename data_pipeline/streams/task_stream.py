"""Streams of a fine-tuning task: epochs of training batches, and one pass over examples that are to be scored.

Global batch t is examples [tG, (t+1)G) of the shuffled epochs, one after another, whatever the number of ranks and the
size of micro-batches. All examples are in memory, so `consumed_samples` is the whole state, and a resume is immediate.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.rng import Purpose
from data_pipeline.streams.collate import Rows, assign
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.phases import micro_batches_of_a_rank
from data_pipeline.streams.stream_state import StreamState
from data_pipeline.streams.task_packing import TaskPacker
from data_pipeline.tasks.encoded import EncodedExamples


def examples_sha256(examples: EncodedExamples) -> str:
    """Return a hash of everything that encoded examples say."""
    arrays = [examples.input_ids, examples.token_type_ids, examples.cu_seqlens]
    digest = hashlib.sha256(f"{examples.sequences_per_example}".encode())
    for name, target in examples.targets.items():
        digest.update(name.encode())
        arrays += [target.positions, target.labels, target.cu_rows]
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return digest.hexdigest()


class TaskStream:
    """This rank's micro-batches of one global batch after another, for ever; `len` says how many the run will take.

    Args:
        examples: The training examples.
        global_batch_size: Examples of one optimizer step, over all ranks.
        micro_batch_size: Examples of one forward and backward pass of one rank.
        num_steps: Optimizer steps of the run.
        seed: Seed of the order.
        rank: Rank of this process.
        world_size: Processes of the run.
        pin_memory: Put the buffers in page-locked memory.
        num_shapes: Most shapes of the micro-batches; None rounds their sizes finely.
    """

    def __init__(
        self,
        examples: EncodedExamples,
        global_batch_size: int,
        micro_batch_size: int,
        num_steps: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        num_shapes: int | None = None,
    ) -> None:
        share = micro_batches_of_a_rank(global_batch_size, micro_batch_size, world_size)
        self.global_batch_size = global_batch_size
        self.consumed_samples = 0
        self._examples = examples
        self._num_steps = num_steps
        self._seed = seed
        self._packer = TaskPacker(examples, pin_memory)
        self._shape = self._packer.shape(micro_batch_size, num_shapes)
        self._num_micro_batches = share * world_size
        self._share = slice(rank * share, (rank + 1) * share)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return self._num_steps

    def _shuffled(self, epoch: int) -> Rows:
        return rng.permutation(rng.fold(self._seed, Purpose.EXAMPLE_ORDER, epoch), len(self._examples))

    def examples_of(self, first_sample: int) -> Rows:
        """Return the examples of the global batch that begins with a sample, (global batch,)."""
        epochs, places = np.divmod(first_sample + np.arange(self.global_batch_size), len(self._examples))
        rows = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            rows[epochs == epoch] = self._order(epoch)[places[epochs == epoch]]
        return rows

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        """Continue at `consumed_samples`, which counts the samples of the global batches that were yielded."""
        while True:
            rows = self.examples_of(self.consumed_samples)
            chosen = assign(self._packer.lengths[rows], self._num_micro_batches)[self._share]
            self.consumed_samples += self.global_batch_size
            yield self._packer.pack([rows[each] for each in chosen], chosen, self._shape)

    def epochs_passed(self, samples: int) -> float:
        """Return how many passes over the examples the first samples are."""
        return samples / len(self._examples)

    def fingerprint(self) -> dict[str, object]:
        """Return everything that decides the global batches."""
        return {
            "task.examples": examples_sha256(self._examples),
            "seed": self._seed,
            "data.global_batch_size": self.global_batch_size,
        }

    def state_dict(self) -> dict[str, object]:
        """Return the whole state of the stream; the same on every rank."""
        return StreamState(self.consumed_samples, self.global_batch_size, self.fingerprint()).as_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue where `state` was taken; ValueError with the differences if it is the state of another stream."""
        saved = StreamState.read(state)
        saved.check_stream(self.fingerprint())
        self.consumed_samples = saved.consumed_samples


class ScoringStream:
    """Each example once over all ranks, the same number of items on every rank.

    The examples are sorted by length and cut into micro-batches of about equally many tokens, which are dealt to the
    ranks in turn. A micro-batch does not depend on the number of ranks, so neither do the scores of its examples.
    `sample_ids` are the numbers of the examples.

    Args:
        examples: The examples.
        micro_batch_size: Examples of usual length in a micro-batch.
        rank: Rank of this process.
        world_size: Processes of the run.
        pin_memory: Put the buffers in page-locked memory.
    """

    def __init__(
        self,
        examples: EncodedExamples,
        micro_batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self._packer = TaskPacker(examples, pin_memory)
        batches = _equal_tokens(self._packer.lengths, micro_batch_size)
        self._num_items = -(-len(batches) // world_size)
        self._mine = batches[rank::world_size]

    def __len__(self) -> int:
        return self._num_items

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        nothing = np.empty(0, dtype=np.int64)
        for item in range(self._num_items):
            rows = self._mine[item] if item < len(self._mine) else nothing
            yield self._packer.pack([rows], [rows], self._packer.shape(max(len(rows), 1)))


def _equal_tokens(lengths: NDArray[np.int64], micro_batch_size: int) -> list[Rows]:
    """Return the examples of each micro-batch, the longest first.

    >>> [rows.tolist() for rows in _equal_tokens(np.array([2, 8, 2, 2, 2]), 2)]
    [[1], [0, 2], [3, 4]]
    """
    order = np.argsort(-lengths, kind="stable")
    num_batches = -(-len(lengths) // micro_batch_size)
    if num_batches < 2:
        return [order] if len(order) else []
    before = np.cumsum(lengths[order]) - lengths[order]
    budget = lengths.sum() / num_batches
    groups = (before // budget).astype(np.int64)
    return [rows for rows in np.split(order, np.flatnonzero(np.diff(groups)) + 1) if len(rows)]
