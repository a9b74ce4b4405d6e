"""The training stream of a whole run: the streams of its phases, one after another.

    consumed_samples -> phase -> first sample of the phase + samples read in it          one integer is the whole state

A phase goes on through the corpus where the one before has stopped: it begins with the sample before which the same
share of an epoch lies. Shards come in the same order whatever the sequence length, so a run of less than one pass
reads no part of the corpus twice, and phases that differ in batch sizes and masks alone read every example once an
epoch. Loader processes end with their phase, and read nothing of the next.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.phases import Phases
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream import Past, PretrainingStream
from data_pipeline.streams.stream_state import StreamState
from data_pipeline.whole_numbers import number_of


class PhasedStream:
    """This rank's micro-batches of the global batches of all phases, the last phase without end.

    Args:
        phases: The phases of the run.
        samples: The training split as each phase reads it, (phases,).
        rank: Rank of this process.
        world_size: Processes of the run.
        num_workers: Loader processes; 0 reads in this one. Does not change the batches.
        pin_memory: Put the buffers in page-locked memory, for copies to a GPU that do not wait.
        num_shapes: Most shapes of the micro-batches of a phase; see `PretrainingStream`.
    """

    def __init__(
        self,
        phases: Phases,
        samples: Sequence[PretrainingSamples],
        *,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        num_shapes: int | None = None,
    ) -> None:
        self.phases = phases
        self._samples = samples
        self._open = partial(
            PretrainingStream,
            rank=rank,
            world_size=world_size,
            num_workers=num_workers,
            pin_memory=pin_memory,
            num_shapes=num_shapes,
        )
        self._begin(0)

    def __len__(self) -> int:
        return self.phases.num_steps

    @property
    def consumed_samples(self) -> int:
        """Samples of the global batches that were yielded in all phases."""
        return self._stream.consumed_samples

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        """Continue at `consumed_samples`."""
        while self._number + 1 < len(self.phases):
            unread = self.phases.last_samples[self._number] - self.consumed_samples
            if unread:
                yield from self._stream.steps(unread // self._stream.global_batch_size)
            self._samples[self._number].let_go()
            self._begin(self._number + 1)
        yield from self._stream

    def start_after(self, steps: int) -> None:
        """Continue after so many steps of the run."""
        self._begin(self.phases.number_at_step(steps))
        self._stream.consumed_samples = self.phases.samples_of(steps)

    def epochs_passed(self, samples: int) -> float:
        """Return how many passes over the corpus the first samples of the run are, as a fraction."""
        number = self.phases.number_at_sample(samples)
        inside = samples - self.phases.samples_before(number)
        return self._samples[number].epochs.passed(self._first_sample(number) + inside)

    def count_ahead(self) -> None:
        """Begin to count the examples that the rest of the run needs, and return at once.

        Where later phases begin is estimated from the size of the first epoch.
        """
        self._stream.count_ahead()
        begin = 0.0
        for number, (phase, samples) in enumerate(zip(self.phases, self._samples, strict=True)):
            end = begin + phase.num_samples / samples.epochs.size(0)
            if number > self._number:
                samples.count_epochs_ahead(range(int(begin), int(end) + 1))
            begin = end

    def state_dict(self) -> dict[str, object]:
        """Return the whole state of the stream; the same on every rank."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue where `state` was taken; finished phases must be the same, later ones may differ.

        Raises:
            ValueError: with the differences if it is the state of another stream, or if a phase that has begun is
                shorter than what was made of it or has another batch size.
        """
        saved = StreamState.read(state)
        finished = saved.fingerprint.get("phases")
        number = len(finished) if isinstance(finished, list) else 0
        self._begin(min(number, len(self.phases) - 1))
        self._stream.load_state_dict(state)
        if len(self.phases) > 1:
            self._check_phase(saved.global_batch_size)

    def _check_phase(self, global_batch_size: int) -> None:
        """Refuse a position that does not lie in its phase; a run of one phase may change its batch size."""
        number, phase = self._number, self.phases[self._number]
        if global_batch_size != phase.global_batch_size:
            raise ValueError(
                f"phases[{number}].global_batch_size was {global_batch_size} and is {phase.global_batch_size}, but the "
                "checkpoint was made in this phase; only later phases may change"
            )
        made, left = divmod(self.consumed_samples - self.phases.samples_before(number), global_batch_size)
        is_short = made > phase.num_steps and number + 1 < len(self.phases)
        if left or made < 0 or is_short:
            steps = f"{number_of(phase.num_steps, 'step')} of {number_of(global_batch_size, 'example')}"
            raise ValueError(
                f"phases[{number}] has {steps}, but the checkpoint has read "
                f"{number_of(self.consumed_samples - self.phases.samples_before(number), 'example')} in this phase; "
                "only later phases may change"
            )

    def _begin(self, number: int) -> None:
        """Go to the beginning of a phase."""
        phase = self.phases[number]
        past = Past(
            self.phases.samples_before(number),
            self._first_sample(number),
            tuple(finished.describe() for finished in self.phases.phases[:number]),
        )
        self._number = number
        self._stream = self._open(
            self._samples[number], phase.global_batch_size, phase.micro_batch_size, phase.num_steps, past=past
        )

    def _first_sample(self, number: int) -> int:
        """Return the sample of its split with which a phase begins."""
        first = 0
        for earlier in range(number):
            end = first + self.phases[earlier].num_samples
            first = self._samples[earlier + 1].epochs.sample_after(self._samples[earlier].epochs.passed(end))
        return first
