"""What the training module and the callbacks need of a data module, whatever the examples are made from."""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import lightning as L
import torch
from torch.profiler import record_function

from bert_lightning.profiling.step_profile import DATA_WAIT
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.phases import Phases


class TrainingStream(Protocol):
    """This rank's micro-batches of one global batch after another."""

    @property
    def consumed_samples(self) -> int:
        """Return the samples of the global batches that were yielded, in earlier parts of the run too."""

    def __len__(self) -> int:
        """Return the steps of the run."""

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        """Continue where the stream is."""

    def state_dict(self) -> dict[str, object]:
        """Return the whole state; the same on every rank."""

    def epochs_passed(self, samples: int) -> float:
        """Return how many passes over the examples the first samples of the run are."""


class TimedLoader:
    """A training stream, and how long training has waited for it.

    Args:
        stream: The stream. It must have a length, or Lightning reads one batch ahead.
        on_begin: Called when the stream begins; None calls nothing.
    """

    def __init__(self, stream: TrainingStream, on_begin: Callable[[], None] | None = None) -> None:
        self.stream = stream
        self._on_begin = on_begin
        self.wait_seconds = 0.0

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        if self._on_begin is not None:
            self._on_begin()
        batches = iter(self.stream)
        while True:
            begin = time.perf_counter()
            with record_function(DATA_WAIT):
                batch = next(batches, None)
            self.wait_seconds += time.perf_counter() - begin
            if batch is None:
                return
            yield batch

    def state_dict(self) -> dict[str, object]:
        """Return the state of the stream, which does not depend on the rank."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Do nothing for Lightning, which resumes no loader without this method: the stream is in its position."""


class TrainingData(L.LightningDataModule):
    """The examples of a run; a subclass gives `check_state`, `train_dataloader` by way of `_begin`, and the rest.

    Args:
        phases: Steps, sequence length and batch sizes of each phase; one phase if nothing changes.
    """

    def __init__(self, phases: Phases) -> None:
        super().__init__()
        self.phases = phases
        self._loader: TimedLoader | None = None
        self._start: dict[str, object] | None = None

    def setup(self, stage: str) -> None:
        """Raise a ValueError if the share of the held-out batches that is asked for is less than one of them."""
        limit = self._require_trainer().limit_val_batches
        if not isinstance(limit, float) or not 0 < limit < 1:
            return
        number = len(self.val_dataloader())
        if int(limit * number) < 1:
            raise ValueError(
                f"trainer.limit_val_batches={limit} is less than one of the {number} held-out batches of a process; "
                "take a larger share, or a number of batches"
            )

    def check_state(self, state: dict[str, object]) -> None:
        """Raise a ValueError with the differences if a saved state is of another training stream."""
        raise NotImplementedError

    def position(self) -> dict[str, object]:
        """Return the state of the training stream after the batches that have been trained on."""
        assert self._loader is not None
        return self._loader.state_dict()

    def start_at(self, position: dict[str, object]) -> None:
        """Begin the next training stream at a position that `position` has returned, in this process or another."""
        self._start = position

    def _taken_start(self) -> dict[str, object] | None:
        """Return the position that the training stream is to begin at, once."""
        start, self._start = self._start, None
        return start

    def transfer_batch_to_device(
        self, batch: list[PackedBatch], device: torch.device, dataloader_idx: int
    ) -> list[PackedBatch]:
        """Copy each micro-batch in one transfer that does not wait."""
        return batch if device.type == "cpu" else [one.to(device, non_blocking=True) for one in batch]

    def _require_trainer(self) -> L.Trainer:
        assert self.trainer is not None
        return self.trainer

    def take_wait_seconds(self) -> float:
        """Return how long training batches were waited for since the last call."""
        if self._loader is None:
            return 0.0
        waited, self._loader.wait_seconds = self._loader.wait_seconds, 0.0
        return waited

    def validation_source(self, batch_idx: int) -> str:
        """Return the source of the examples of a held-out batch; "" if sources are not told apart."""
        return ""

    def samples_after(self, step: int) -> int:
        """Return the samples of the run up to a step of this process.

        Steps of an earlier process may have had another global batch size, so the position in the stream counts.
        """
        assert self._loader is not None
        later = self.phases.samples_of(self._require_trainer().global_step) - self.phases.samples_of(step)
        return self._loader.stream.consumed_samples - later

    def epoch_of(self, samples: int) -> float:
        """Return how many passes over the training split the first samples of the run are."""
        return self._loader.stream.epochs_passed(samples) if self._loader is not None else 0.0
