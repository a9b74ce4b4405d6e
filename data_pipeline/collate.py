"""Examples -> packed micro-batches: dealt by length, read, joined, masked."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_pipeline.masking import Masking, Vocabulary
from data_pipeline.packing import PackedBatch, unpack_buffer
from data_pipeline.records import NO_LABEL, TokenIds
from data_pipeline.samples import Examples


@dataclass(frozen=True, slots=True)
class PackedShape:
    """The fixed and rounded sizes of the batches of a run.

    Rounding to 1/64 of a full batch wastes under 2% of the tokens even where examples fill only half of `seq_len`, and
    leaves a handful of shapes.

    Attributes:
        num_examples: Examples a batch has room for.
        seq_len: Most tokens of an example.
    """

    num_examples: int
    seq_len: int

    @property
    def token_multiple(self) -> int:
        """What the number of tokens is rounded up to: a power of two near num_examples * seq_len / 64, at least 8."""
        return 1 << max(3, (self.num_examples * self.seq_len // 64).bit_length() - 1)

    @property
    def prediction_multiple(self) -> int:
        """What the number of masked positions is rounded up to."""
        return max(8, self.token_multiple // 8)

    @property
    def num_sequences(self) -> int:
        """Entries of `cu_seqlens` less one: the examples and room for the filler."""
        return self.num_examples + -(-self.token_multiple // self.seq_len)


def deal(lengths: NDArray[np.int64], num_hands: int) -> list[NDArray[np.int64]]:
    """Deal examples into hands of equal size and nearly equal token counts: longest first, back and forth.

    Args:
        lengths: Tokens of each example, (examples,); a multiple of `num_hands` of them.
        num_hands: Number of hands.

    Returns:
        The examples of each hand, ascending.
    """
    rounds = np.argsort(-lengths, kind="stable").reshape(-1, num_hands)
    rounds[1::2] = rounds[1::2, ::-1]
    return list(np.sort(rounds.T, axis=1))


def pack(
    examples: Examples, shape: PackedShape, masking: Masking, vocabulary: Vocabulary, first_sample: int
) -> PackedBatch:
    """Read, join and mask examples.

    Args:
        examples: At most `shape.num_examples` of them; missing ones become filler.
        shape: Sizes of the batch.
        masking: Chooses what is to be predicted.
        vocabulary: Facts about token ids.
        first_sample: Sample with which the global batch begins; `sample_ids` count from it.

    Returns:
        The batch, on the host, backed by one buffer.
    """
    lengths = examples.spans.lengths
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)])
    input_ids, token_type_ids = _join(examples, cu_seqlens, vocabulary)
    positions, labels = masking(input_ids, cu_seqlens, examples.keys, vocabulary)
    num_tokens, pad = len(input_ids), vocabulary.unmaskable[-1]
    filler = _round_up(num_tokens, shape.token_multiple) - num_tokens
    ends = _sequence_ends(cu_seqlens, filler, shape)
    num_predictions = _round_up(len(positions), shape.prediction_multiple)
    begins = np.repeat(ends[:-1], np.diff(ends))
    arrays = (
        _pad(input_ids, num_tokens + filler, pad),
        np.arange(num_tokens + filler) - begins,
        _pad(token_type_ids, num_tokens + filler, 0),
        ends,
        _pad(positions, num_predictions, 0),
        _pad(labels, num_predictions, NO_LABEL),
        _pad(cu_seqlens[:-1], shape.num_examples, 0),
        _pad(examples.spans.labels, shape.num_examples, NO_LABEL),
        _pad(examples.samples - first_sample, shape.num_examples, -1),
    )
    labelled = int((examples.spans.labels != NO_LABEL).sum())
    counts = (num_tokens, len(positions), len(examples), labelled, shape.seq_len)
    header = [*(len(array) for array in arrays), *counts]
    buffer = np.concatenate([np.array(header), *arrays]).astype(np.int32)
    return unpack_buffer(torch.from_numpy(buffer))


def _join(
    examples: Examples, cu_seqlens: NDArray[np.int64], vocabulary: Vocabulary
) -> tuple[TokenIds, NDArray[np.int64]]:
    """Write [CLS] A [SEP] B [SEP] ... of every example; return ids and token types, both (tokens,)."""
    cls, sep, _ = vocabulary.unmaskable
    input_ids = np.full(int(cu_seqlens[-1]), sep, dtype=np.int32)
    token_type_ids = np.zeros(len(input_ids), dtype=np.int64)
    input_ids[cu_seqlens[:-1]] = cls
    spans = examples.spans
    starts, stops, types = spans.start.tolist(), spans.stop.tolist(), spans.token_types.tolist()
    for row, (begin, window) in enumerate(zip(cu_seqlens.tolist(), examples.window.tolist(), strict=False)):
        tokens, place = examples.windows[window].tokens, begin + 1
        for start, stop, token_type in zip(starts[row], stops[row], types[row], strict=True):
            if stop > start:
                end = place + stop - start
                input_ids[place:end] = tokens[start:stop]
                token_type_ids[place : end + 1] = token_type
                place = end + 1
    return input_ids, token_type_ids


def _sequence_ends(cu_seqlens: NDArray[np.int64], filler: int, shape: PackedShape) -> NDArray[np.int64]:
    """Append the filler as sequences of at most `seq_len`, then empty ones up to the fixed number of sequences."""
    ends = np.minimum(np.arange(1, shape.num_sequences - len(cu_seqlens) + 2) * shape.seq_len, filler)
    return np.concatenate([cu_seqlens, cu_seqlens[-1] + ends])


def _pad(values: NDArray[np.integer], size: int, filler: int) -> NDArray[np.int64]:
    return np.concatenate([values, np.full(size - len(values), filler)])


def _round_up(number: int, multiple: int) -> int:
    """Round up to a multiple, at least one of them: a batch of filler alone still has a token for heads to read."""
    return max(1, -(-number // multiple)) * multiple
