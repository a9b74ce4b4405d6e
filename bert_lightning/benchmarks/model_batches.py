"""Micro-batches to measure the model with: from a prepared folder, or made-up tokens in stated lengths."""

from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bert_lightning.objectives.objective import Objective
from data_pipeline import rng
from data_pipeline.masking.masking import Masking, Vocabulary
from data_pipeline.pairs.chunks import Chunks, Layout, PairFormat, Spans
from data_pipeline.streams.collate import pack
from data_pipeline.streams.loaded_window import LoadedWindow
from data_pipeline.streams.packed_batch import MLM, PackedBatch, unpack_buffers
from data_pipeline.streams.packed_shape import PackedShape, few_shapes
from data_pipeline.streams.samples import Examples, PretrainingSamples
from data_pipeline.streams.stream import PretrainingStream
from data_pipeline.whole_numbers import check_whole_number

NSP = "nsp"
SHORTEST = 8
ENDLESS = 10**9
SPECIALS = 5
"""Number of ids of made-up vocabularies that are no words: [PAD], [UNK], [CLS], [SEP], [MASK]."""


@dataclass(frozen=True, slots=True)
class LengthMixture:
    """A mixture with a given mean: some examples fill `seq_len`, and the lengths of the others spread evenly from 8 up.

    Attributes:
        mean_share: Mean length, as a share of `seq_len`; 1 makes every row full.
        full_share: Examples that fill `seq_len`, as a share of all.
    """

    mean_share: float
    full_share: float

    def lengths(self, count: int, seq_len: int) -> NDArray[np.int64]:
        """Return lengths in ascending order, (count,).

        >>> LengthMixture(0.5, 0.25).lengths(8, 64).tolist()
        [10, 15, 19, 24, 28, 32, 64, 64]

        Raises:
            ValueError: if no even spread has that mean.
        """
        if self.mean_share >= 1:
            return np.full(count, seq_len)
        full = round(self.full_share * count)
        mean = (self.mean_share * seq_len * count - full * seq_len) / max(1, count - full)
        longest = 2 * mean - SHORTEST
        if not SHORTEST <= longest <= seq_len:
            raise ValueError(
                f"part.lengths.mean_share={self.mean_share} and part.lengths.full_share={self.full_share} leave "
                f"lengths from {SHORTEST} to {longest:.0f} for the examples that do not fill data.seq_len={seq_len}"
            )
        places = (np.arange(count - full) + 0.5) / max(1, count - full)
        rest = np.rint(SHORTEST + places * (longest - SHORTEST)).astype(np.int64)
        return np.concatenate([rest, np.full(full, seq_len)])


def synthetic_batches(
    mixture: LengthMixture,
    num_batches: int,
    shape: PackedShape,
    vocab_size: int,
    masking: Masking,
    seed: int,
    pair_target: str | None = NSP,
) -> list[PackedBatch]:
    """Return batches of pairs of made-up tokens; the frequency of a token falls with its id, as Zipf's law has it.

    Args:
        mixture: The lengths.
        num_batches: Number of batches.
        shape: Number of examples of a batch and their longest length.
        vocab_size: Words of the vocabulary.
        masking: Which tokens are to be predicted.
        seed: Seed of lengths, tokens and masks.
        pair_target: Name of the pair labels; None for none.
    """
    numbers = np.random.default_rng(seed)
    count = num_batches * shape.num_examples
    tokens = numbers.permutation(mixture.lengths(count, shape.seq_len)) - 3  # [CLS] and two [SEP]
    first = np.clip(numbers.integers(1, tokens), 1, tokens - 1)
    ends = np.cumsum(np.stack([first, tokens - first], axis=1).ravel()).reshape(-1, 2)
    spans = Spans.of_pairs(ends - np.stack([first, tokens - first], axis=1), ends, numbers.random(count) < 0.5)
    ids = SPECIALS + (vocab_size - SPECIALS) ** numbers.random(ends[-1, -1]) - 1
    none = np.zeros(0, dtype=np.int64)
    chunks = Chunks(none, none, none, none, none.astype(bool))
    no_keys = none.astype(np.uint64)
    window = LoadedWindow(ids.astype(np.uint32), Layout(none, none, no_keys), chunks, no_keys, none)
    samples = np.arange(count)
    examples = Examples(samples, rng.fold(seed, samples), spans, np.zeros_like(samples), [window])
    pieces = np.zeros(vocab_size, dtype=bool)
    vocabulary = Vocabulary(size=vocab_size, mask=4, cls=2, sep=3, pad=0, is_continuation=pieces)
    micro_batch_rows = list(samples.reshape(num_batches, -1))
    names = (MLM,) if pair_target is None else (MLM, pair_target)
    return unpack_buffers(pack(examples, micro_batch_rows, shape, masking, vocabulary, 0, names), names)


def pad_rows(batch: PackedBatch, length: int | None = None, pair_target: str | None = NSP) -> dict[str, Tensor]:
    """Return the same examples as transformers takes them: rows padded to `length`, or to the longest, (pairs, length).

    The masks and labels are the same ones; a token that is not to be predicted has the label -100.

    Args:
        batch: The examples.
        length: Tokens every row is padded to; None pads to the longest example.
        pair_target: Name of the pair labels that the model learns; None for a model that learns none.
    """
    tokens = batch.tokens
    ends = tokens.cu_seqlens[: batch.num_examples + 1].tolist()
    longest = length or max(end - begin for begin, end in pairwise(ends))
    labels = flat_labels(batch)

    def rows(values: Tensor, filler: int) -> Tensor:
        padded = torch.full((batch.num_examples, longest), filler)
        for row, (begin, end) in enumerate(pairwise(ends)):
            padded[row, : end - begin] = values[begin:end]
        return padded

    padded_rows = {
        "input_ids": rows(tokens.input_ids, 0),
        "token_type_ids": rows(tokens.token_type_ids, 0),
        "attention_mask": rows(torch.ones_like(tokens.input_ids), 0),
        "labels": rows(labels, -100),
    }
    if pair_target is not None:
        padded_rows["next_sentence_label"] = batch.targets[pair_target].labels[: batch.num_examples].long()
    return padded_rows


def flat_labels(batch: PackedBatch) -> Tensor:
    """Return the label of every token, -100 if it is not to be predicted, (tokens,)."""
    mlm = batch.targets[MLM]
    labels = torch.full_like(batch.tokens.input_ids, -100, dtype=torch.long)
    labels[mlm.positions[: mlm.count].long()] = mlm.labels[: mlm.count].long()
    return labels


@dataclass(frozen=True, slots=True)
class ExampleSource:
    """The source of the benchmark's examples.

    Attributes:
        path: A prepared folder; None makes examples up.
        pairs: How documents become examples.
        masking: Which tokens are to be predicted.
        lengths: Lengths of made-up examples.
        seq_len: Most tokens of an example.
        micro_batch_size: Examples of a batch.
        vocab_size: Words of the model's vocabulary.
        seed: Seed of order, pairs, masks and made-up tokens.
    """

    path: str | None
    pairs: PairFormat
    masking: Masking
    lengths: LengthMixture
    seq_len: int
    micro_batch_size: int
    vocab_size: int
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("micro_batch_size", 1), ("seq_len", SHORTEST)):
            check_whole_number(f"data.{name}", getattr(self, name), least)

    def batches(self, count: int, num_shapes: int | None = None) -> list[PackedBatch]:
        """Return the first micro-batches.

        Args:
            count: Number of them.
            num_shapes: Most shapes that they have; None rounds their sizes finely, as bert-pretrain does.
        """
        stream = self.stream(num_workers=0, num_shapes=num_shapes)
        if stream is not None:
            return [batch for step in islice(stream, count) for batch in step]
        sizes = (self.micro_batch_size, self.seq_len)
        shape = PackedShape(*sizes, round(self.lengths.mean_share * self.seq_len))
        if num_shapes is not None:
            lengths = self.lengths.lengths(count * self.micro_batch_size, self.seq_len)
            shape = few_shapes(*sizes, lengths, self.masking, num_shapes)
        facts = (shape, self.vocab_size, self.masking, self.seed, self.pairs.target)
        return synthetic_batches(self.lengths, count, *facts)

    def check_targets(self, objective: Objective) -> None:
        """Raise a ValueError if the examples lack labels that an objective reads."""
        names = (MLM,) if self.pairs.target is None else (MLM, self.pairs.target)
        objective.check_targets(names, f"pairs={type(self.pairs).__name__}")

    def stream(
        self, num_workers: int, pin_memory: bool = False, num_shapes: int | None = None
    ) -> PretrainingStream | None:
        """Return the training stream of a single rank, a micro-batch a step; None if examples are made up."""
        if self.path is None:
            return None
        samples = PretrainingSamples(self.path, "train", self.pairs, self.masking, self.seq_len, self.seed)
        size = self.micro_batch_size
        return PretrainingStream(
            samples, size, size, ENDLESS, num_workers=num_workers, pin_memory=pin_memory, num_shapes=num_shapes
        )

    def describe(self) -> str:
        """Return the source of the examples in words."""
        if self.path is not None:
            return f"{self.path}, {type(self.pairs).__name__}"
        mean, full = self.lengths.mean_share, self.lengths.full_share
        if mean >= 1:
            return "made up: every row full"
        return f"made up: {full:.0%} of them full, the others evenly spread, the mean {mean:.1%} of seq_len"
