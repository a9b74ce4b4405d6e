"""The endless stream of examples as a function of the sample number: (manifest, settings, seed) -> sample i.

    sample i -> (epoch, lane, position) -> window -> chunk -> spans of tokens          no state but caches

This module finds examples, `collate` makes batches of them, and `stream` yields the batches.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.knowledge.entity_table import TITLES, file_of, knowledge_of
from data_pipeline.masking.masking import LONGEST_EXAMPLE, Masking, Vocabulary
from data_pipeline.pairs.chunks import Layout, PairFormat, Spans
from data_pipeline.prepared.mentions_file import MENTIONS
from data_pipeline.prepared.prepared_folder import PreparedFolder, open_folder
from data_pipeline.rng import Purpose
from data_pipeline.streams.epochs import Epochs
from data_pipeline.streams.example_index import ExampleIndex, plan_shard
from data_pipeline.streams.example_lengths import example_lengths
from data_pipeline.streams.loaded_window import LoadedWindow
from data_pipeline.streams.packed_batch import ENTITIES, MLM
from data_pipeline.streams.packed_shape import PackedShape, few_shapes
from data_pipeline.streams.plan import EpochPlan
from data_pipeline.streams.window_cache import WindowCache
from data_pipeline.tokenizers.pieces import continuation_pieces, piece_bytes
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from data_pipeline.whole_numbers import check_whole_number

STREAM_VERSION = 3
"""Part of the fingerprint; raised by every change that makes another stream of the same settings."""


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
        seed: Seed of every random number.
        num_lanes: Lanes of shards read side by side (`plan`); the same for every number of ranks.
        window_shards: Shards of a lane in memory at a time; more mixes better and takes more memory.
        shuffle: False reads shards and examples in their stored order.
        exclude_shards: Names of shards in the manifest to leave out; this makes another stream.
        entities: Whether batches have the mentions of entities, which the folder must have then.
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
        exclude_shards: Sequence[str] = (),
        entities: bool = False,
    ) -> None:
        if not 8 <= seq_len <= LONGEST_EXAMPLE:
            raise ValueError(f"data.seq_len must be between 8, for two segments, and {LONGEST_EXAMPLE}; got {seq_len}")
        for name, value in (("num_lanes", num_lanes), ("window_shards", window_shards)):
            check_whole_number(f"data.{name}", value)
        self.folder = open_folder(folder)
        self.manifest = self.folder.manifest.without(exclude_shards)
        self.exclude_shards = sorted(exclude_shards)
        self.knowledge = knowledge_of(self.folder) if entities else None
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
        self.epochs = Epochs(self._count, pairs.dupe_factor)
        if not self.epochs.size(0):
            raise ValueError(f"the {split} split of {self.folder} gives no example of data.seq_len={seq_len}")
        self._plans: dict[int, EpochPlan] = {}
        self._windows: WindowCache[LoadedWindow] = WindowCache()

    def _check_folder(self) -> None:
        """Find missing and truncated shards now rather than hours later; contents are hashed when they are read."""
        self.folder.check(self.entries)
        self.folder.check_tokenizer()

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the targets of every batch: of masks, then of pair labels and entities if there are any."""
        pairs = () if self.pairs.target is None else (self.pairs.target,)
        return (MLM, *pairs, *((ENTITIES,) if self.knowledge else ()))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What masking has to know about the tokenizer of the prepared folder."""
        tokenizer = load_tokenizer(self.folder.tokenizer_dir)
        special = special_tokens(tokenizer)
        return Vocabulary(
            size=tokenizer.get_vocab_size(),
            mask=special.mask,
            cls=special.cls,
            sep=special.sep,
            pad=special.pad,
            unk=special.unk,
            is_continuation=continuation_pieces(tokenizer),
            num_bytes=piece_bytes(tokenizer),
        )

    def shape(self, num_examples: int, num_shapes: int | None = None) -> PackedShape:
        """Return the shape of batches of so many examples: one of `num_shapes`, or rounded finely if it is None."""
        if num_shapes is None:
            usual = self.manifest.totals(self.split)["tokens"] // self.epochs.size(0) + 3
            return PackedShape(num_examples, self.seq_len, min(self.seq_len, usual))
        lengths = example_lengths(self.folder, self.entries, self.pairs, self.seq_len, self.seed)
        return few_shapes(num_examples, self.seq_len, lengths, self.masking, num_shapes)

    def fingerprint(self) -> dict[str, object]:
        """Everything that decides the stream; two streams with equal fingerprints are equal sample by sample."""
        return {
            "stream_version": STREAM_VERSION,
            "corpus": self.manifest.content_sha256,
            "quarantine": self.exclude_shards,
            "split": self.split,
            "seq_len": self.seq_len,
            "seed": self.seed,
            "num_lanes": self.num_lanes,
            "window_shards": self.window_shards,
            "shuffle": self.shuffle,
            "pairs": self.pairs.describe(),
            "masking": self.masking.describe(),
            **({"entities": self._mentions_sha256()} if self.knowledge else {}),
        }

    def _mentions_sha256(self) -> str:
        """Return one hash of the titles of the entities and of the mentions of every shard."""
        files = (entry.side_files.get(MENTIONS) for entry in self.entries)
        hashes = [file_of(self.folder, TITLES).sha256, *(file and file.sha256 for file in files)]
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """Return the order of an epoch; the last two are kept."""
        if epoch not in self._plans:
            counts = self.index.counts(self.epochs.variant(epoch))
            plan = EpochPlan(counts, self.seed, epoch, self.num_lanes, self.window_shards, self.shuffle)
            self._plans = {**dict(list(self._plans.items())[-1:]), epoch: plan}
        return self._plans[epoch]

    def count_ahead(self, first_sample: int, last_sample: int) -> None:
        """Begin to count the cuts of the corpus that epochs after the one of `first_sample` need, and return at once.

        Args:
            first_sample: Sample with which reading begins.
            last_sample: Sample with which reading ends; the last epoch is estimated from the size of the first.
        """
        epoch, _ = self.epochs.holding(first_sample)
        num_epochs = -(-(last_sample - first_sample) // self.epochs.size(0))
        self.count_epochs_ahead(range(epoch + 1, epoch + 1 + num_epochs))

    def count_epochs_ahead(self, epochs: range) -> None:
        """Begin to count the cuts of the corpus that some epochs need, and return at once."""
        first_of_each = epochs[: self.pairs.dupe_factor]
        self.index.count_ahead(list(dict.fromkeys(self.epochs.variant(number) for number in first_of_each)))

    def locate(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return epoch, lane and position in the lane of ascending samples of the stream, (3, samples)."""
        location = np.empty((3, len(samples)), dtype=np.int64)
        epoch, begin = self.epochs.holding(int(samples[0]))
        while begin <= samples[-1]:
            plan = self.epoch_plan(epoch)
            rows = (samples >= begin) & (samples < begin + plan.size)
            location[0, rows] = epoch
            location[1:, rows] = plan.locate(samples[rows] - begin)
            epoch, begin = epoch + 1, begin + plan.size
        return location

    def _count(self, variant: int) -> int:
        return int(self.index.counts(variant).sum())

    def find(self, samples: NDArray[np.int64], location: NDArray[np.int64]) -> Examples:
        """Find examples, loading the windows they are in.

        Sample 70 of the stream, at location (epoch 1, lane 0, position 9): if the second window of that lane begins at
        position 6, the example is number `window.order[9 - 6]` of that window.

        Args:
            samples: Sample numbers, (examples,).
            location: Epoch, lane and position in the lane of each, as `locate` returns them, (3, examples).

        Returns:
            The examples, in the order given.
        """
        self._windows.begin_read(self.num_lanes)
        keys = rng.fold(self.seed, samples)  # (examples,)
        parts: list[tuple[NDArray[np.int64], Spans]] = []
        window_of = np.zeros_like(samples)  # (examples,)
        windows: list[LoadedWindow] = []
        for epoch, lane, number, rows, offsets in self._by_window(location):
            window = self._window(epoch, lane, number)
            chosen = window.order[offsets]  # (examples of the window,)
            if self.masking.static_masks:
                passes = epoch // self.pairs.dupe_factor  # of the same cut of the corpus
                keys[rows] = rng.fold(window.identities[chosen], passes % self.masking.static_masks)
            chunks = window.chunks.take(chosen)
            parts.append((rows, self.pairs.spans(chunks, window.layout, self.seq_len, keys[rows])))
            window_of[rows] = len(windows)
            windows.append(window)
        return Examples(samples, keys, Spans.gather(parts, len(samples)), window_of, windows)

    def _by_window(
        self, location: NDArray[np.int64]
    ) -> Iterator[tuple[int, int, int, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield epoch, lane and number of each window, the rows that lie in it, and their offsets in the window."""
        for epoch, lane in sorted(set(zip(*location[:2].tolist(), strict=True))):
            rows = np.flatnonzero((location[0] == epoch) & (location[1] == lane))  # (examples of the lane,)
            numbers, offsets = self.epoch_plan(epoch).window_of(lane, location[2, rows])
            for number in np.unique(numbers).tolist():
                is_here = numbers == number
                yield epoch, lane, number, rows[is_here], offsets[is_here]

    def _window(self, epoch: int, lane: int, number: int) -> LoadedWindow:
        """Return a window; if it has to be loaded, the next window of its lane begins to be fetched."""
        return self._windows.get(lane, (epoch, number), lambda: self._load_next(epoch, lane, number))

    def _load_next(self, epoch: int, lane: int, number: int) -> LoadedWindow:
        plan = self.epoch_plan(epoch)
        window = self._load_window(plan.windows[lane][number].shards, epoch, plan.example_order(lane, number))
        if number + 1 < len(plan.windows[lane]):
            following = [self.entries[shard] for shard in plan.windows[lane][number + 1].shards]
            self.folder.prefetch(following, with_mentions=bool(self.knowledge))
        return window

    def _load_window(self, numbers: tuple[int, ...], epoch: int, order: NDArray[np.int64]) -> LoadedWindow:
        shards = self.folder.read([self.entries[number] for number in numbers])
        variant = self.epochs.variant(epoch)
        layouts = [Layout(s.sentence_offsets, s.document_offsets, s.document_hashes) for s in shards]
        chunks = [
            plan_shard(self.pairs, layout, self.seq_len, self.seed, number, variant)
            for number, layout in zip(numbers, layouts, strict=True)
        ]
        self.index.check(numbers, variant, [len(part) for part in chunks])
        identities = [
            rng.fold(self.seed, Purpose.STATIC_MASK, number, variant, np.arange(len(part)))
            for number, part in zip(numbers, chunks, strict=True)
        ]
        mentions = self.folder.read_mentions([self.entries[number] for number in numbers]) if self.knowledge else None
        tokens = np.concatenate([shard.tokens for shard in shards])
        return LoadedWindow.join(tokens, layouts, chunks, identities, order, mentions)

    def let_go(self) -> None:
        """Let go the windows in memory, if nothing more is going to be read soon."""
        self._windows = WindowCache()

    def __getstate__(self) -> dict[str, object]:
        """Leave loaded windows behind when a worker process gets its copy."""
        return {**self.__dict__, "_windows": WindowCache()}
