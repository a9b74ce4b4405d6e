"""Examples -> packed micro-batches: assigned by length, read, joined, masked."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_pipeline.masking.masking import Masking, Vocabulary
from data_pipeline.records import NO_LABEL, TokenIds
from data_pipeline.streams.packed_batch import ENTITIES, pair_names
from data_pipeline.streams.packed_mentions import mention_targets, segment_begins
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.samples import Examples

Rows = NDArray[np.int64]
L = TypeVar("L", bound=np.integer)


def assign(lengths: NDArray[np.int64], num_micro_batches: int) -> list[Rows]:
    """Assign examples to micro-batches of equal size and nearly equal token counts: longest first, back and forth.

    >>> [rows.tolist() for rows in assign(np.array([8, 7, 6, 5, 4, 3, 2, 1]), 2)]  # 8 + 5 + 4 + 1 and 7 + 6 + 3 + 2
    [[0, 3, 4, 7], [1, 2, 5, 6]]

    Args:
        lengths: Tokens of each example, (examples,); their count is a multiple of `num_micro_batches`.
        num_micro_batches: Micro-batches to fill.

    Returns:
        The rows of each micro-batch, ascending.
    """
    rounds = np.argsort(-lengths, kind="stable").reshape(-1, num_micro_batches)  # (rounds, micro-batches)
    rounds[1::2] = rounds[1::2, ::-1]
    return list(np.sort(rounds.T, axis=1))


def pack(
    examples: Examples,
    micro_batch_rows: Sequence[Rows],
    shape: PackedShape,
    masking: Masking,
    vocabulary: Vocabulary,
    first_sample: int,
    target_names: Sequence[str],
) -> Tensor:
    """Read, join and mask examples, all at once, and lay them out as micro-batches.

    Args:
        examples: Examples that were found for this rank.
        micro_batch_rows: Rows of `examples` in each micro-batch, at most `shape.num_examples`; missing ones become
            filler.
        shape: Sizes of a micro-batch.
        masking: Chooses what is to be predicted.
        vocabulary: Facts about token ids.
        first_sample: Sample with which the global batch begins; `sample_ids` count from it.
        target_names: Names of the targets: that of the masks, then those of pair labels and entities if there are any.

    Returns:
        One int32 buffer on the host with all micro-batches; `unpack_buffers` shows them.
    """
    chosen = examples.take(np.concatenate(micro_batch_rows))
    cu_seqlens = np.concatenate([[0], np.cumsum(chosen.spans.lengths)])
    input_ids, token_type_ids = _join(chosen, cu_seqlens, vocabulary)
    positions, labels = masking(input_ids, cu_seqlens, chosen.keys, vocabulary)
    mentions = mention_targets(chosen, cu_seqlens) if ENTITIES in target_names else None
    sections, first = [], 0
    for last in np.cumsum([len(rows) for rows in micro_batch_rows]).tolist():
        begin, end = cu_seqlens[first], cu_seqlens[last]
        sections += _lay_out(
            cu_seqlens[first : last + 1] - begin,
            (input_ids[begin:end], token_type_ids[begin:end]),
            _between(positions, labels, begin, end),
            chosen.spans.labels[first:last] if pair_names(target_names) else None,
            None if mentions is None else _between(*mentions, begin, end),
            chosen.samples[first:last] - first_sample,
            shape,
            vocabulary,
        )
        first = last
    return torch.from_numpy(np.concatenate(sections, dtype=np.int32, casting="unsafe"))


def _lay_out(
    cu_seqlens: NDArray[np.int64],
    tokens: tuple[TokenIds, NDArray[np.int64]],
    predictions: tuple[NDArray[np.int64], TokenIds],
    pair_labels: NDArray[np.int64] | None,
    mentions: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    sample_ids: NDArray[np.int64],
    shape: PackedShape,
    vocabulary: Vocabulary,
) -> list[NDArray[np.integer]]:
    """Return the header and the arrays of one micro-batch, in the order of `PackedBatch`, filled up to their sizes."""
    (input_ids, token_type_ids), (positions, mlm_labels) = tokens, predictions
    num_tokens, num_predictions = shape.sizes(len(input_ids), len(positions))
    ends = sequence_ends(cu_seqlens, num_tokens - len(input_ids), shape)
    arrays: list[NDArray[np.integer]] = [
        pad(input_ids, num_tokens, vocabulary.pad),
        np.arange(num_tokens) - np.repeat(ends[:-1], np.diff(ends)),
        pad(token_type_ids, num_tokens, 0),
        ends,
        pad(sample_ids, shape.num_examples, -1),
        pad(positions, num_predictions, 0),
        pad(mlm_labels, num_predictions, NO_LABEL),
    ]
    counts = [shape.seq_len, len(input_ids), len(sample_ids), len(positions), vocabulary.text_bytes(mlm_labels)]
    if pair_labels is not None:
        arrays += [pad(cu_seqlens[:-1], shape.num_examples, 0), pad(pair_labels, shape.num_examples, NO_LABEL)]
        counts += [int(np.count_nonzero(pair_labels != NO_LABEL)), 0]
    if mentions is not None:
        num_mentions = shape.mention_rows(len(mentions[0]))
        arrays += [pad(mentions[0], num_mentions, 0), pad(mentions[1], num_mentions, NO_LABEL)]
        counts += [len(mentions[0]), 0]
    return [np.array([*(len(array) for array in arrays), *counts]), *arrays]


def _between(
    positions: NDArray[np.int64], labels: NDArray[L], begin: int, end: int
) -> tuple[NDArray[np.int64], NDArray[L]]:
    """Return the rows of targets whose ascending positions lie between two tokens, counted from the first of them."""
    low, high = np.searchsorted(positions, [begin, end])
    return positions[low:high] - begin, labels[low:high]


def _join(
    examples: Examples, cu_seqlens: NDArray[np.int64], vocabulary: Vocabulary
) -> tuple[TokenIds, NDArray[np.int64]]:
    """Write [CLS] A [SEP] B [SEP] ... of every example; return ids and token types, both (tokens,).

    The buffer begins as [SEP] everywhere; [CLS] and the ordinary tokens are written over it. Where each ordinary token
    comes from and goes to is computed for all examples at once, in the order of their windows, so that each window is
    read by one indexing. An example with segments [40, 43) and [90, 92) of its window, at `cu_seqlens` 100:

        buffer   100  101  102  103  104  105  106  107
        content  CLS   40   41   42  SEP   90   91  SEP
        types      0    0    0    0    0    1    1    1
        sizes = [3, 2], begins = [101, 105], shift = [40 - 101, 90 - 105], target = [101, 102, 103, 105, 106]
    """
    input_ids = np.full(int(cu_seqlens[-1]), vocabulary.sep, dtype=np.int32)  # (tokens,)
    token_type_ids = np.zeros(len(input_ids), dtype=np.int64)
    input_ids[cu_seqlens[:-1]] = vocabulary.cls
    rows = np.argsort(examples.window, kind="stable")  # (examples,)
    spans = examples.spans[rows]
    sizes = spans.stop - spans.start  # (examples, segments)
    begins, has_separator = segment_begins(spans, cu_seqlens[rows]), spans.has_separator  # (examples, segments) each
    counts = sizes.ravel()  # (examples * segments,)
    counts_before = np.cumsum(counts) - counts
    target = np.arange(counts.sum()) + np.repeat(begins.ravel() - counts_before, counts)  # (ordinary tokens,)
    source = target + np.repeat((spans.start - begins).ravel(), counts)  # (ordinary tokens,)
    example_ends = np.concatenate([[0], np.cumsum(sizes.sum(axis=1))])  # (examples + 1,), in ordinary tokens
    first_rows = np.searchsorted(examples.window[rows], np.arange(len(examples.windows) + 1))  # (windows + 1,)
    for window, (low, high) in zip(examples.windows, pairwise(example_ends[first_rows].tolist()), strict=True):
        input_ids[target[low:high]] = window.tokens[source[low:high]]
    token_type_ids[target] = np.repeat(spans.token_types.ravel(), counts)
    token_type_ids[(begins + sizes)[has_separator]] = spans.token_types[has_separator]
    return input_ids, token_type_ids


def sequence_ends(cu_seqlens: NDArray[np.int64], filler: int, shape: PackedShape) -> NDArray[np.int64]:
    """Append the filler as sequences of at most `seq_len`, then empty ones up to the fixed number of sequences."""
    ends = np.minimum(np.arange(1, shape.num_sequences - len(cu_seqlens) + 2) * shape.seq_len, filler)
    return np.concatenate([cu_seqlens, cu_seqlens[-1] + ends])


def pad(values: NDArray[np.integer], size: int, filler: int) -> NDArray[np.int32]:
    """Return values with filler after them, (size,)."""
    padded = np.full(size, filler, dtype=np.int32)
    padded[: len(values)] = values
    return padded
