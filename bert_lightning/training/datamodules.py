"""The streams of a prepared folder for the ranks of a trainer."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from tokenizers import Tokenizer
from torch.profiler import record_function

from bert_lightning.objectives.objective import Objective
from bert_lightning.profiling.step_profile import DATA_WAIT
from data_pipeline.masking.masking import Masking
from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams.one_label import one_label
from data_pipeline.streams.packed_shape import PackedShape, bounded_share
from data_pipeline.streams.packing import PackedBatch
from data_pipeline.streams.phased_stream import PhasedStream
from data_pipeline.streams.phases import Phases
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.validation_stream import ValidationStream
from data_pipeline.tokenizers.tokenizer import load_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeldOutExamples:
    """How held-out documents become examples: the same for every run unless somebody asks for something else.

    Runs that train with other masks, rates, pairs or seeds then compare.

    Attributes:
        masking: Which tokens are to be predicted.
        pairs: How documents become examples; None takes the format that the run trains on.
        seed: Seed of pairs and masks.
    """

    masking: Masking
    pairs: PairFormat | None = None
    seed: int = 0


class TimedLoader:
    """A training stream, and how long training has waited for it.

    Args:
        stream: The stream. It must have a length, or Lightning reads one batch ahead.
        counts_ahead: Whether this process counts the examples of later epochs, for all processes of its node.
    """

    def __init__(self, stream: PhasedStream, counts_ahead: bool = False) -> None:
        self.stream = stream
        self._counts_ahead = counts_ahead
        self.wait_seconds = 0.0

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[list[PackedBatch]]:
        if self._counts_ahead:
            self.stream.count_ahead()
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


class PretrainingData(L.LightningDataModule):
    """Training and held-out streams of one prepared folder.

    Args:
        path: A folder written by bert-prepare, or its address.
        pairs: How documents become examples.
        phases: Steps, sequence length, batch sizes and masks of each phase; one phase if nothing changes.
        validation: How held-out documents become examples, which have the sequence length of the last phase.
        seed: Seed of the order, the pairs and the masks.
        num_workers: Loader processes of each rank.
        validation_micro_batch_size: Examples of one held-out forward pass of one rank.
        validation_samples: Held-out examples to use; None uses all.
        num_lanes: Streams of shards read side by side.
        window_shards: Shards of a lane in memory at a time.
        cache_dir: Where the example index and what is fetched are kept; see `PreparedFolder`.
        exclude_shards: Shards to leave out.
        cache_bytes: Most bytes of fetched shards to keep; None keeps all.
        retries: How often a broken transfer is tried again.
        num_shapes: Most shapes of the training micro-batches; see `PretrainingStream`.
    """

    def __init__(
        self,
        path: str | Path,
        pairs: PairFormat,
        phases: Phases,
        validation: HeldOutExamples,
        seed: int = 0,
        num_workers: int = 0,
        validation_micro_batch_size: int | None = None,
        validation_samples: int | None = None,
        num_lanes: int = 16,
        window_shards: int = 16,
        cache_dir: str | Path | None = None,
        exclude_shards: Sequence[str] = (),
        cache_bytes: int | None = None,
        retries: int = 5,
        num_shapes: int | None = None,
    ) -> None:
        super().__init__()
        if num_shapes is not None:
            for phase in phases:
                bounded_share(phase.masking)
        self.folder = PreparedFolder(path, cache_dir, cache_bytes, retries)
        self.phases = phases
        self.tokenizer: Tokenizer = load_tokenizer(self.folder.tokenizer_dir)
        self._validation_micro_batch_size = validation_micro_batch_size or phases[-1].micro_batch_size
        self._validation_samples = validation_samples
        self._validation = validation
        self._num_workers = num_workers
        self._num_shapes = num_shapes
        self._source: dict[str, Any] = {
            "folder": self.folder,
            "pairs": pairs,
            "seed": seed,
            "num_lanes": num_lanes,
            "window_shards": window_shards,
            "exclude_shards": exclude_shards,
        }
        self._loader: TimedLoader | None = None
        self._start: dict[str, object] | None = None

    def prepare_data(self) -> None:
        """Let one process of each node make the example index before the others read it."""
        _ = self._samples
        if self.has_validation:
            _ = self._held_out_samples

    @property
    def has_validation(self) -> bool:
        """Whether documents were held out when the folder was prepared."""
        return bool(self.folder.manifest.without(self._source["exclude_shards"]).splits.get("validation"))

    @cached_property
    def _samples(self) -> list[PretrainingSamples]:
        """The training split as each phase reads it, (phases,)."""
        return [
            PretrainingSamples(split="train", masking=phase.masking, seq_len=phase.seq_len, **self._source)
            for phase in self.phases
        ]

    @cached_property
    def _held_out_samples(self) -> PretrainingSamples:
        held_out = self._validation
        pairs = held_out.pairs or self._source["pairs"]
        settings = {name: self._source[name] for name in ("folder", "exclude_shards")}
        return PretrainingSamples(
            split="validation",
            shuffle=False,
            pairs=pairs,
            masking=held_out.masking,
            seq_len=self.phases[-1].seq_len,
            seed=held_out.seed,
            **settings,
        )

    def setup(self, stage: str) -> None:
        """Warn, in the first process, about a corpus whose pairs all have one label."""
        if self._require_trainer().is_global_zero and (said := one_label(self._samples[-1])):
            log.warning("%s", said)

    def check_targets(self, objective: Objective) -> None:
        """Raise a ValueError if the training or the held-out examples lack targets that an objective reads."""
        samples = {"pairs": self._samples[0]}
        if self.has_validation:
            samples["validation.pairs"] = self._held_out_samples
        for setting, source in samples.items():
            objective.check_targets(source.target_names, f"{setting}={type(source.pairs).__name__}")

    def token_multiple(self) -> int:
        """Return what the numbers of tokens of the training micro-batches are multiples of, in every phase."""
        return min(
            PackedShape(phase.micro_batch_size, phase.seq_len, samples.usual_length).token_multiple
            for phase, samples in zip(self.phases, self._samples, strict=True)
        )

    def check_state(self, state: dict[str, object]) -> None:
        """Raise a ValueError with the differences if a saved state is of another training stream."""
        PhasedStream(self.phases, self._samples).load_state_dict(state)

    def train_dataloader(self) -> TimedLoader:
        """Return this rank's share of the training stream."""
        trainer = self._require_trainer()
        stream = PhasedStream(
            self.phases,
            self._samples,
            trainer.global_rank,
            trainer.world_size,
            self._num_workers,
            pin_memory=trainer.strategy.root_device.type == "cuda",
            num_shapes=self._num_shapes,
        )
        if self._start is not None:
            stream.load_state_dict(self._start)
        self._loader, self._start = TimedLoader(stream, counts_ahead=trainer.local_rank == 0), None
        return self._loader

    def position(self) -> dict[str, object]:
        """Return the state of the training stream after the batches that have been trained on."""
        assert self._loader is not None
        return self._loader.state_dict()

    def start_at(self, position: dict[str, object]) -> None:
        """Begin the next training stream at a position that `position` has returned, in this process or another."""
        self._start = position

    def val_dataloader(self) -> ValidationStream:
        """Return this rank's share of the held-out split."""
        trainer = self._require_trainer()
        return ValidationStream(
            self._held_out_samples,
            self._validation_micro_batch_size,
            trainer.global_rank,
            trainer.world_size,
            min(self._num_workers, 1),
            self._validation_samples,
            pin_memory=trainer.strategy.root_device.type == "cuda",
        )

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

    def epoch_of(self, samples: int) -> float:
        """Return how many passes over the training split the first samples of the run are."""
        return self._loader.stream.epochs_passed(samples) if self._loader is not None else 0.0
