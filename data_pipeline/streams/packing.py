"""One micro-batch: the real tokens of its examples, one after another, no padding between.

Token counts are rounded up to a multiple so that compiled shapes stay few; the filler at the end is sequences of its
own that nothing reads. The whole batch crosses the worker boundary as one int32 tensor. `collate` builds batches.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One micro-batch. `tokens`, `predictions` and `pairs` include filler; the counts do not.

    Attributes:
        input_ids: Token ids after masking, (tokens,).
        position_ids: Position of each token in its own sequence, (tokens,).
        token_type_ids: 0 for [CLS] A [SEP], 1 for B [SEP], (tokens,).
        cu_seqlens: Start offset of each sequence and the end of the last, (sequences + 1,). Filler is the last
            sequences.
        masked_positions: Where a token is to be predicted, as indices into `input_ids`, (predictions,).
        mlm_labels: The original ids there, `NO_LABEL` for filler, (predictions,).
        cls_positions: Index of each example's [CLS], (pairs,).
        nsp_labels: 0 next, 1 random or swapped, `NO_LABEL` for filler and single-segment formats, (pairs,).
        sample_ids: Position of each example inside its global batch, -1 for filler, (pairs,).
        num_tokens: Real tokens.
        num_predictions: Real masked positions.
        num_pairs: Real examples.
        num_labelled_pairs: Examples with an NSP or SOP label.
        max_seqlen: Upper bound of every sequence's length.
    """

    input_ids: Tensor
    position_ids: Tensor
    token_type_ids: Tensor
    cu_seqlens: Tensor
    masked_positions: Tensor
    mlm_labels: Tensor
    cls_positions: Tensor
    nsp_labels: Tensor
    sample_ids: Tensor
    num_tokens: int
    num_predictions: int
    num_pairs: int
    num_labelled_pairs: int
    max_seqlen: int

    buffer: Tensor | None = field(default=None, repr=False, compare=False)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PackedBatch":
        """Copy every tensor to `device` in one transfer; the counts stay on the host."""
        buffer = pack_buffer(self) if self.buffer is None else self.buffer
        return _views(buffer.to(device, non_blocking=non_blocking), _header(self))


_TENSORS = [f.name for f in fields(PackedBatch) if f.type is Tensor]
_COUNTS = [f.name for f in fields(PackedBatch) if f.type is int]
_HEADER_SIZE = len(_TENSORS) + len(_COUNTS)


def _header(batch: PackedBatch) -> list[int]:
    return [len(getattr(batch, name)) for name in _TENSORS] + [getattr(batch, name) for name in _COUNTS]


def pack_buffer(batch: PackedBatch) -> Tensor:
    """Return the whole batch as one int32 tensor: the shapes and counts, then the tensors."""
    header = torch.tensor(_header(batch), dtype=torch.int32)
    return torch.cat([header, *(getattr(batch, name).to("cpu", torch.int32) for name in _TENSORS)])


def unpack_buffers(buffer: Tensor) -> list[PackedBatch]:
    """Return the batches that lie one after another in a buffer on the host; their tensors are views of it."""
    batches, begin = [], 0
    while begin < len(buffer):
        header = buffer[begin : begin + _HEADER_SIZE].tolist()
        end = begin + _HEADER_SIZE + sum(header[: len(_TENSORS)])
        batches.append(_views(buffer[begin:end], header))
        begin = end
    return batches


def _views(buffer: Tensor, header: list[int]) -> PackedBatch:
    tensors = dict(zip(_TENSORS, buffer[_HEADER_SIZE:].split(header[: len(_TENSORS)]), strict=True))
    counts: dict[str, Any] = dict(zip(_COUNTS, header[len(_TENSORS) :], strict=True))
    return PackedBatch(**tensors, **counts, buffer=buffer)


def example_digests(batch: PackedBatch) -> dict[int, bytes]:
    """Return a sha256 of everything an example says, by its position in the global batch.

    Independent of what else is in the micro-batch, so the digests of all ranks together identify the global batch.
    """
    ends = batch.cu_seqlens.tolist()
    predictions = np.stack([batch.masked_positions.numpy(), batch.mlm_labels.numpy()])[:, : batch.num_predictions]
    digests = {}
    for row in range(batch.num_pairs):
        begin, end = ends[row], ends[row + 1]
        own = (predictions[0] >= begin) & (predictions[0] < end)
        parts = (
            batch.input_ids[begin:end].numpy(),
            batch.token_type_ids[begin:end].numpy(),
            predictions[:, own] - np.array([[begin], [0]]),
            batch.nsp_labels[row : row + 1].numpy(),
        )
        content = b"".join(np.ascontiguousarray(part, dtype="<i4").tobytes() for part in parts)
        digests[int(batch.sample_ids[row])] = hashlib.sha256(content).digest()
    return digests


def global_digest(digests: dict[int, bytes]) -> str:
    """Return one sha256, in hex, of a global batch from the digests of all its examples."""
    return hashlib.sha256(b"".join(digests[sample] for sample in sorted(digests))).hexdigest()


def batch_digest(batches: Sequence[PackedBatch]) -> str:
    """Return the `global_digest` of micro-batches that together are a global batch."""
    digests: dict[int, bytes] = {}
    for batch in batches:
        digests |= example_digests(batch)
    return global_digest(digests)
