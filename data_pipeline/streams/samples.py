"""The endless stream of examples as a function of the sample number: (manifest, settings, seed) -> sample i.

    sample i -> (epoch, lane, position) -> window -> chunk -> spans of tokens          no state but caches

This module finds examples; `packing` makes batches of them and `stream` hands the batches out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.masking.masking import LONGEST_EXAMPLE, Masking, Vocabulary
from data_pipeline.pairs.chunks import Chunks, Lengths, PairFormat, Spans
from data_pipeline.prepared.prepared_folder import PreparedFolder, open_folder
from data_pipeline.rng import Purpose
from data_pipeline.streams.example_index import ExampleIndex, plan_shard
from data_pipeline.streams.packing import MLM
from data_pipeline.streams.plan import EpochPlan
from data_pipeline.streams.window_cache import WindowCache
from data_pipeline.tokenizers.tokenizer import (
    continuation_pieces,
    load_tokenizer,
    piece_bytes,
    special_tokens,
    tokenizer_sha256,
)
from data_pipeline.whole_numbers import check_whole_number

STREAM_VERSION = 2
"""Part of the fingerprint; raised by every change that makes another stream of the same settings."""


@dataclass(frozen=True, slots=True)
class LoadedWindow:
    """The shards of a window as one run of tokens, and its examples in reading order.

    `identities` are keys of the chunks that do not depend on where in which epoch they are read, (examples,).
    """

    tokens: NDArray[np.uint16] | NDArray[np.uint32]
    lengths: Lengths
    chunks: Chunks
    identities: rng.Keys
    order: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples found but not yet read; arrays have shape (examples,) unless said otherwise.

    Attributes:
        samples: Sample numbers in the stream.
        keys: The key of each example's random numbers.
        spans: Token ranges, in the tokens of the window the example belongs to.
        window: Index into `windows`.
        windows: The windows the examples come from.
    """

    samples: NDArray[np.int64]
    keys: rng.Keys
    spans: Spans
    window: NDArray[np.int64]
    windows: list[LoadedWindow]

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """Return the examples of some rows, in that order."""
        return Examples(self.samples[rows], self.keys[rows], self.spans[rows], self.window[rows], self.windows)


class PretrainingSamples:
    """The examples of one split of a prepared folder, in their order.

    Args:
        folder: A folder written by bert-prepare, or its path.
        split: "train" or "validation".
        pairs: How documents become examples.
        masking: Which tokens are to be predicted.
        seq_len: Most tokens of an example.
        seed: Of every random number.
        num_lanes: Streams of shards read side by side (`plan`); the same for every number of ranks.
        window_shards: Shards of a lane in memory at a time; more mixes better and takes more memory.
        shuffle: False reads shards and examples in their stored order.
        quarantine: Names of shards, as the manifest has them, to leave out; another stream than one with them.
    """

    def __init__(
        self,
        folder: PreparedFolder | str | Path,
        split: str,
        pairs: PairFormat,
        masking: Masking,
        seq_len: int,
        seed: int,
        num_lanes: int = 16,
        window_shards: int = 16,
        shuffle: bool = True,
        quarantine: Sequence[str] = (),
    ) -> None:
        if not 8 <= seq_len <= LONGEST_EXAMPLE:
            raise ValueError(
                f"data.seq_len must be between 8, to hold a pair of segments, and {LONGEST_EXAMPLE}, not {seq_len}"
            )
        for name, value in (("num_lanes", num_lanes), ("window_shards", window_shards)):
            check_whole_number(f"data.{name}", value)
        self.folder = open_folder(folder)
        self.manifest = self.folder.manifest.without(quarantine)
        self.quarantine = sorted(quarantine)
        if split not in self.manifest.splits:
            raise ValueError(f"{folder} has no split {split!r}, only {', '.join(self.manifest.splits)}")
        self.split = split
        self.entries = self.manifest.splits[split]
        self._check_folder()
        self.pairs = pairs
        self.masking = masking
        self.seq_len = seq_len
        self.seed = seed
        self.num_lanes = num_lanes
        self.window_shards = window_shards
        self.shuffle = shuffle
        self.index = ExampleIndex(self.folder, split, self.manifest, pairs, seq_len, seed)
        if not self.index.counts(0).sum():
            raise ValueError(f"the {split} split of {self.folder} gives no example of data.seq_len={seq_len}")
        self._plans: dict[int, EpochPlan] = {}
        self._windows: WindowCache[LoadedWindow] = WindowCache()

    def _check_folder(self) -> None:
        """Find what is missing or cut short at once, not hours later; contents are hashed when they are read."""
        self.folder.check(self.entries)
        if tokenizer_sha256(load_tokenizer(self.folder.tokenizer_dir)) != self.manifest.tokenizer_sha256:
            raise ValueError(f"the tokenizer in {self.folder} is not the one that its shards were made with")

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the targets of every batch: of the masks, then of the pair labels if the format has them."""
        return (MLM,) if self.pairs.target is None else (MLM, self.pairs.target)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What masking has to know about the tokenizer of the prepared folder."""
        tokenizer = load_tokenizer(self.folder.tokenizer_dir)
        special = special_tokens(tokenizer)
        return Vocabulary(
            tokenizer.get_vocab_size(),
            special.mask,
            (special.cls, special.sep, special.pad),
            continuation_pieces(tokenizer),
            special.unk,
            piece_bytes(tokenizer),
        )

    @cached_property
    def usual_length(self) -> int:
        """About how many tokens an example has, from the size of the split and the number of its examples."""
        return min(self.seq_len, self.manifest.totals(self.split)["tokens"] // self._epoch_size(0) + 3)

    def fingerprint(self) -> dict[str, object]:
        """Everything that decides the stream; two streams with equal fingerprints are equal sample by sample."""
        return {
            "stream_version": STREAM_VERSION,
            "corpus": self.manifest.content_sha256,
            "quarantine": self.quarantine,
            "split": self.split,
            "seq_len": self.seq_len,
            "seed": self.seed,
            "num_lanes": self.num_lanes,
            "window_shards": self.window_shards,
            "shuffle": self.shuffle,
            "pairs": self.pairs.describe(),
            "masking": self.masking.describe(),
        }

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """Return the order of an epoch; the last two are kept."""
        if epoch not in self._plans:
            counts = self.index.counts(self._variant(epoch))
            plan = EpochPlan(counts, self.seed, epoch, self.num_lanes, self.window_shards, self.shuffle)
            self._plans = {**dict(list(self._plans.items())[-1:]), epoch: plan}
        return self._plans[epoch]

    def epoch_of(self, sample: int) -> float:
        """Return how many passes over the corpus lie before a sample, as a fraction."""
        epoch, begin = self._epoch_holding(sample)
        return epoch + (sample - begin) / self._epoch_size(epoch)

    def locate(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return epoch, lane and position in the lane of ascending samples of the stream, (3, samples)."""
        place = np.empty((3, len(samples)), dtype=np.int64)
        epoch, begin = self._epoch_holding(int(samples[0]))
        while begin <= samples[-1]:
            plan = self.epoch_plan(epoch)
            rows = (samples >= begin) & (samples < begin + plan.size)
            place[0, rows] = epoch
            place[1:, rows] = plan.locate(samples[rows] - begin)
            epoch, begin = epoch + 1, begin + plan.size
        return place

    def _epoch_size(self, epoch: int) -> int:
        return int(self.index.counts(self._variant(epoch)).sum())

    def _epoch_holding(self, sample: int) -> tuple[int, int]:
        """Return the epoch a sample is in and the sample it begins with.

        The sizes of epochs repeat every `dupe_factor` of them.
        """
        epoch, begin = 0, 0
        while sample >= begin + (size := self._epoch_size(epoch)):
            epoch, begin = epoch + 1, begin + size
            if epoch == self.pairs.dupe_factor:
                cycles = sample // begin
                epoch, begin = epoch * cycles, begin * cycles
        return epoch, begin

    def find(self, samples: NDArray[np.int64], place: NDArray[np.int64]) -> Examples:
        """Find examples, loading the windows they are in.

        Args:
            samples: Sample numbers, (examples,).
            place: What `locate` says of them, (3, examples).

        Returns:
            The examples, in the order given.
        """
        self._windows.begin_turn(self.num_lanes)
        keys = rng.fold(self.seed, samples)
        parts: list[tuple[NDArray[np.int64], Spans]] = []
        owner = np.zeros_like(samples)
        windows: list[LoadedWindow] = []
        for epoch, lane in np.unique(place[:2], axis=1).T.tolist():
            rows = np.flatnonzero((place[0] == epoch) & (place[1] == lane))
            numbers, positions = self.epoch_plan(epoch).window_of(lane, place[2, rows])
            for number in np.unique(numbers).tolist():
                here = rows[numbers == number]
                window = self._window(epoch, lane, number)
                chosen = window.order[positions[numbers == number]]
                if self.masking.static_masks:
                    passes = epoch // self.pairs.dupe_factor  # of the same cut of the corpus
                    keys[here] = rng.fold(window.identities[chosen], passes % self.masking.static_masks)
                chunks = window.chunks.take(chosen)
                parts.append((here, self.pairs.spans(chunks, window.lengths, self.seq_len, keys[here])))
                owner[here] = len(windows)
                windows.append(window)
        return Examples(samples, keys, Spans.gather(parts, len(samples)), owner, windows)

    def _variant(self, epoch: int) -> int:
        return epoch % self.pairs.dupe_factor

    def _window(self, epoch: int, lane: int, number: int) -> LoadedWindow:
        """Return a window; one that has to be loaded has the next one of its lane fetched meanwhile."""
        return self._windows.get(lane, (epoch, number), lambda: self._load_next(epoch, lane, number))

    def _load_next(self, epoch: int, lane: int, number: int) -> LoadedWindow:
        plan = self.epoch_plan(epoch)
        window = self._load_window(plan.windows[lane][number].shards, epoch, plan.example_order(lane, number))
        if number + 1 < len(plan.windows[lane]):
            self.folder.prefetch([self.entries[shard] for shard in plan.windows[lane][number + 1].shards])
        return window

    def _load_window(self, numbers: tuple[int, ...], epoch: int, order: NDArray[np.int64]) -> LoadedWindow:
        shards = self.folder.read([self.entries[number] for number in numbers])
        lengths = [Lengths(shard.sentence_offsets, shard.document_offsets) for shard in shards]
        chunks = [
            plan_shard(self.pairs, shard_lengths, self.seq_len, self.seed, number, self._variant(epoch))
            for number, shard_lengths in zip(numbers, lengths, strict=True)
        ]
        self.index.check(numbers, self._variant(epoch), [len(part) for part in chunks])
        sentences = np.cumsum([0] + [len(shard.sentence_offsets) - 1 for shard in shards])
        identities = [
            rng.fold(self.seed, Purpose.STATIC_MASK, number, self._variant(epoch), np.arange(len(part)))
            for number, part in zip(numbers, chunks, strict=True)
        ]
        joined = Lengths(
            _join_offsets([part.sentence_offsets for part in lengths]),
            _join_offsets([part.document_offsets for part in lengths]),
        )
        return LoadedWindow(
            np.concatenate([shard.tokens for shard in shards]),
            joined,
            Chunks.join(chunks, sentences[:-1]),
            np.concatenate(identities),
            order,
        )

    def __getstate__(self) -> dict[str, object]:
        """Leave loaded windows behind when a worker process gets its copy."""
        return {**self.__dict__, "_windows": WindowCache()}


def _join_offsets(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Concatenate offset arrays, each beginning at 0, so that every one begins where the one before ends."""
    bases = np.cumsum([0] + [int(part[-1]) for part in parts])
    return np.concatenate(
        [bases[:1]] + [part[1:] + base for part, (base, _) in zip(parts, pairwise(bases), strict=True)]
    )
