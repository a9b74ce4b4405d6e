"""The streams of a prepared folder for the ranks of a trainer."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bert_lightning.objectives.objective import Objective
from bert_lightning.training.training_data import TimedLoader, TrainingData
from data_pipeline.masking.masking import Masking
from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.prepared.storage import is_remote
from data_pipeline.streams.one_label import one_label
from data_pipeline.streams.packed_shape import bounded_share
from data_pipeline.streams.phased_stream import PhasedStream
from data_pipeline.streams.phases import Phases
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream_statistics import token_counts
from data_pipeline.streams.validation_stream import ValidationStream
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.whole_numbers import check_whole_number

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

    def __post_init__(self) -> None:
        check_whole_number("validation.seed", self.seed, least=0)


class PretrainingData(TrainingData):
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
        entities: Whether batches have the mentions of entities.
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
        entities: bool = False,
    ) -> None:
        super().__init__(phases)
        if num_shapes is not None:
            if entities:
                raise ValueError(
                    "compile.dynamic=false takes batches of a few fixed shapes, but nothing bounds the mentions of "
                    "entities in a batch; take compile.dynamic=true"
                )
            for phase in phases:
                bounded_share(phase.masking)
        self.folder = PreparedFolder(path, cache_dir, cache_bytes, retries)
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
            "entities": entities,
        }

    def prepare_data(self) -> None:
        """Let one process of each node make the example index before the others read it."""
        _ = self._samples
        if self.has_validation:
            _ = self._held_out_samples

    def near_token_counts(self, max_tokens: int) -> NDArray[np.int64]:
        """Return how often each token stands in at most so many tokens of the training split, (vocabulary,).

        All are 0 if the shards are elsewhere: they are not fetched for statistics.
        """
        if is_remote(self.folder.path):
            return np.zeros(self.folder.manifest.vocab_size, dtype=np.int64)
        return token_counts(self.folder, "train", self._source["exclude_shards"], max_tokens)

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
        return PretrainingSamples(
            split="validation",
            shuffle=False,
            pairs=pairs,
            masking=held_out.masking,
            seq_len=self.phases[-1].seq_len,
            seed=held_out.seed,
            folder=self._source["folder"],
            exclude_shards=self._source["exclude_shards"],
            entities=self._source["entities"],
        )

    def setup(self, stage: str) -> None:
        """Check the share of held-out batches; warn, in the first process, of a corpus whose pairs have one label."""
        super().setup(stage)
        if self._require_trainer().is_global_zero and (said := one_label(self._samples[-1])):
            log.warning("%s", said)

    def check_targets(self, objective: Objective) -> None:
        """Raise a ValueError if the training or the held-out examples are none that an objective can learn from."""
        samples = {"pairs": self._samples[0]}
        if self.has_validation:
            samples["validation.pairs"] = self._held_out_samples
        for setting, source in samples.items():
            objective.check_targets(source.target_names, f"{setting}={type(source.pairs).__name__}")
            swapped = source.pairs.describe().get("swap_prob", 0)
            if objective.reads_in_order and swapped:
                raise ValueError(
                    f"{setting}.swap_prob={swapped} swaps segments, but objective={objective.name} reads "
                    f"text in its order; take {setting}.swap_prob=0"
                )

    def token_multiple(self) -> int:
        """Return what the numbers of tokens of the training micro-batches are multiples of, in every phase."""
        return min(
            samples.shape(phase.micro_batch_size).token_multiple
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
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            num_workers=self._num_workers,
            pin_memory=trainer.strategy.root_device.type == "cuda",
            num_shapes=self._num_shapes,
        )
        if (start := self._taken_start()) is not None:
            stream.load_state_dict(start)
        # One process of a node counts the examples of later epochs for all of them.
        self._loader = TimedLoader(stream, stream.count_ahead if trainer.local_rank == 0 else None)
        return self._loader

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

    def validation_source(self, batch_idx: int) -> str:
        """Return the source of the examples of a held-out batch; "" if the shards do not tell sources apart."""
        loader = self._require_trainer().val_dataloaders
        assert isinstance(loader, ValidationStream)
        return loader.source_of(batch_idx)
