"""How many steps a fine-tuning makes, how often it validates, and what a process computes at a time."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from data_pipeline import rng
from data_pipeline.rng import Purpose
from data_pipeline.streams.phases import micro_batches_of_a_rank
from data_pipeline.tasks.encoded import EncodedExamples
from data_pipeline.whole_numbers import check_whole_number

LARGEST_MICRO_BATCH = 64
"""Examples of one pass of one process, if nobody says how many."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of one run.

    Attributes:
        max_steps: Optimizer steps.
        val_check_interval: Steps between two validations.
        micro_batch_size: Examples of one forward and backward pass of one process.
    """

    max_steps: int
    val_check_interval: int
    micro_batch_size: int


def run_sizes(
    num_examples: int,
    epochs: Any,
    global_batch_size: Any,
    num_processes: int,
    *,
    max_steps: int | None = None,
    val_check_interval: int | None = None,
    micro_batch_size: int | None = None,
) -> Sizes:
    """Return the sizes of a run: those that are given, and what follows from the number of examples for the others.

    >>> run_sizes(1000, 3, 32, num_processes=2)
    Sizes(max_steps=94, val_check_interval=32, micro_batch_size=16)

    Args:
        num_examples: Training examples.
        epochs: Passes over them, a number above 0.
        global_batch_size: Examples of one optimizer step, over all processes.
        num_processes: Number of processes.
        max_steps: Steps of the run; None: as many as the epochs take.
        val_check_interval: Steps between two validations; None: about an epoch.
        micro_batch_size: Examples of one pass of one process; None: its share of the step, `LARGEST_MICRO_BATCH` at
            most.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0 < epochs < 1e6:
        raise ValueError(f"epochs must be a number above 0; got {epochs}")
    check_whole_number("data.global_batch_size", global_batch_size)
    check_whole_number("data.micro_batch_size", micro_batch_size, or_null=True)
    check_whole_number("trainer.max_steps", max_steps, or_null=True)
    check_whole_number("trainer.val_check_interval", val_check_interval, or_null=True)
    share = micro_batches_of_a_rank(global_batch_size, None, num_processes)
    largest = max(size for size in range(1, min(share, LARGEST_MICRO_BATCH) + 1) if share % size == 0)
    steps = max_steps or ceil(epochs * num_examples / global_batch_size)
    interval = val_check_interval or ceil(num_examples / global_batch_size)
    return Sizes(steps, min(interval, steps), micro_batch_size or largest)


def check_seq_len(seq_len: Any, max_position_embeddings: int) -> None:
    """Raise a ValueError if sequences could be longer than the encoder reads."""
    check_whole_number("data.seq_len", seq_len, least=8)
    if seq_len > max_position_embeddings:
        raise ValueError(
            f"data.seq_len={seq_len} is longer than the encoder's max_position_embeddings={max_position_embeddings}"
        )


def fewer_examples(examples: EncodedExamples, number: Any) -> EncodedExamples:
    """Return so many of the training examples, the same ones for every seed; None returns all.

    Raises:
        ValueError: if there are not so many.
    """
    check_whole_number("task.train_examples", number, or_null=True)
    if number is None:
        return examples
    if number > len(examples):
        raise ValueError(f"task.train_examples={number}, but there are {len(examples)} training examples")
    return examples.take(rng.permutation(rng.fold(0, Purpose.EXAMPLE_ORDER), len(examples))[:number])
