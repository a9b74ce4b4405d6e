"""The phases of a run: stretches of steps, each with a sequence length, batch sizes and masks of its own.

Devlin et al. (2019, appendix A.2) train 90% of the steps on sequences of 128 tokens and the rest on 512. A run without
phases is a run of one.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from data_pipeline.masking.masking import Masking
from data_pipeline.whole_numbers import number_of


def micro_batches_of_a_rank(
    global_batch_size: int, micro_batch_size: int | None, num_ranks: int, group: str = "data"
) -> int:
    """Return how many micro-batches each rank makes of one optimizer step, which are as many for every rank.

    >>> micro_batches_of_a_rank(64, 8, 2)
    4
    >>> micro_batches_of_a_rank(64, 8, 3)
    Traceback (most recent call last):
    ...
    ValueError: data.global_batch_size=64 is not a multiple of data.micro_batch_size=8 times 3 processes = 24

    Args:
        global_batch_size: Examples of one optimizer step, over all ranks.
        micro_batch_size: Examples of one forward and backward pass of one rank; None counts single examples.
        num_ranks: Processes of the run.
        group: The settings that have both sizes, for the error.

    Raises:
        ValueError: if the step cannot be dealt in whole micro-batches.
    """
    together = num_ranks * (1 if micro_batch_size is None else micro_batch_size)
    if min(global_batch_size, together) < 1 or global_batch_size % together:
        processes = number_of(num_ranks, "process", "processes")
        if micro_batch_size is not None:
            processes = f"{group}.micro_batch_size={micro_batch_size} times {processes} = {together:,}"
        raise ValueError(f"{group}.global_batch_size={global_batch_size} is not a multiple of {processes}")
    return global_batch_size // together


@dataclass(frozen=True, slots=True)
class Phase:
    """Successive steps of a run whose batches are made in the same way.

    Attributes:
        num_steps: Optimizer steps.
        seq_len: Most tokens of an example.
        global_batch_size: Examples of one optimizer step, over all ranks.
        micro_batch_size: Examples of one forward and backward pass of one rank. Does not change the global batches.
        masking: Which tokens are to be predicted.
    """

    num_steps: int
    seq_len: int
    global_batch_size: int
    micro_batch_size: int
    masking: Masking

    @property
    def num_samples(self) -> int:
        """Examples of all steps."""
        return self.num_steps * self.global_batch_size

    def describe(self) -> dict[str, object]:
        """Everything that decides the batches of the phase, for the fingerprint of the stream."""
        return {
            "steps": self.num_steps,
            "seq_len": self.seq_len,
            "global_batch_size": self.global_batch_size,
            "masking": self.masking.describe(),
        }


@dataclass(frozen=True)
class Phases:
    """The phases of a run in their order.

    Steps and samples count from the beginning of the run. If they end a phase exactly, they belong to that phase: the
    next one has not begun. The last phase goes on for as long as it is asked to.

    Attributes:
        phases: One phase or more.
    """

    phases: tuple[Phase, ...]

    def __len__(self) -> int:
        return len(self.phases)

    def __iter__(self) -> Iterator[Phase]:
        return iter(self.phases)

    def __getitem__(self, number: int) -> Phase:
        return self.phases[number]

    @cached_property
    def last_steps(self) -> list[int]:
        """Steps that have been made when each phase ends, (phases,)."""
        return list(accumulate(phase.num_steps for phase in self.phases))

    @cached_property
    def last_samples(self) -> list[int]:
        """Samples that have been read when each phase ends, (phases,)."""
        return list(accumulate(phase.num_samples for phase in self.phases))

    @property
    def num_steps(self) -> int:
        """Steps of the run."""
        return self.last_steps[-1]

    def until(self, step: int) -> "Phases":
        """Return the phases that make the steps up to one, the last of them just as long as that."""
        number = self.number_at_step(step)
        left = step - (self.last_steps[number - 1] if number else 0)
        return Phases((*self.phases[:number], replace(self[number], num_steps=left)))

    def number_at_step(self, step: int) -> int:
        """Return the number of the phase that made the last of so many steps; 0 if there were none."""
        return min(bisect_left(self.last_steps, step), len(self) - 1)

    def number_at_sample(self, samples: int) -> int:
        """Return the number of the phase that read the last of so many samples; 0 if there were none."""
        return min(bisect_left(self.last_samples, samples), len(self) - 1)

    def samples_before(self, number: int) -> int:
        """Return the samples that earlier phases read."""
        return self.last_samples[number - 1] if number else 0

    def samples_of(self, steps: int) -> int:
        """Return the samples that the first steps of the run read.

        >>> phases = Phases((Phase(10, 32, 4, 4, None), Phase(5, 64, 2, 2, None)))
        >>> [(phases.number_at_step(steps), phases.samples_of(steps)) for steps in (0, 10, 11, 15)]
        [(0, 0), (0, 40), (1, 42), (1, 50)]
        >>> [phases.number_at_sample(samples) for samples in (0, 40, 41, 99)], phases.tokens_of(11)
        ([0, 0, 1, 1], 1408)
        """
        number = self.number_at_step(steps)
        before = self.last_steps[number - 1] if number else 0
        return self.samples_before(number) + (steps - before) * self[number].global_batch_size

    def tokens_of(self, steps: int) -> int:
        """Return the most tokens that the first steps of the run can have."""
        number = self.number_at_step(steps)
        before = self.last_steps[number - 1] if number else 0
        whole = sum(phase.num_samples * phase.seq_len for phase in self.phases[:number])
        return whole + (steps - before) * self[number].global_batch_size * self[number].seq_len
