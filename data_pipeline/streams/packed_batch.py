"""One micro-batch: the real tokens of its examples, one after another, no padding between, and what is asked of them.

Token counts are rounded up to a multiple so that compiled shapes stay few. The filler at the end consists of sequences
that nothing reads. All batches of a step cross the worker boundary as one int32 tensor. `collate` builds batches.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from data_pipeline.records import NO_LABEL

MLM = "mlm"
"""Name of the targets that masking makes; a `PairFormat` names those of its pairs."""
ENTITIES = "entities"
"""Name of the targets that mentions make: the first token of each, and the row of its entity in the folder's table."""


@dataclass(frozen=True, slots=True)
class PackedTokens:
    """Sequences as an encoder takes them, one after another; `tokens` and `sequences` include filler.

    Attributes:
        input_ids: Token ids, after masking if there is any, (tokens,).
        position_ids: Position of each token in its sequence, (tokens,).
        token_type_ids: 0 for [CLS] A [SEP], 1 for B [SEP], (tokens,).
        cu_seqlens: Start offset of each sequence and the end of the last, (sequences + 1,). Filler comes last.
        max_seqlen: Upper bound of the length of every sequence.
    """

    input_ids: Tensor
    position_ids: Tensor
    token_type_ids: Tensor
    cu_seqlens: Tensor
    max_seqlen: int

    def to(self, device: torch.device | str) -> "PackedTokens":
        """Return a copy on a device; on this one, itself."""
        return PackedTokens(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.token_type_ids.to(device),
            self.cu_seqlens.to(device),
            self.max_seqlen,
        )


@dataclass(frozen=True, slots=True)
class Targets:
    """One kind of question to the encoder: tokens whose hidden states are read, and the right answers.

    Attributes:
        positions: Indices into `input_ids`, 0 for filler, (rows,).
        labels: The answers, `NO_LABEL` for filler and for examples without an answer, (rows,).
        count: Rows that have a label.
        num_bytes: UTF-8 bytes of the text that the labels stand for; 0 if the labels are no text.
    """

    positions: Tensor
    labels: Tensor
    count: int
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One micro-batch. Tensors include filler, counts do not.

    Attributes:
        tokens: What the encoder takes. Example i is sequence i.
        targets: What is asked, by name: `MLM`, the name of the pair labels if the examples are pairs, and `ENTITIES` if
            mentions were asked for.
        sample_ids: Position of each example inside its global batch, -1 for filler, (examples,).
        num_tokens: Real tokens.
        num_examples: Real examples.
    """

    tokens: PackedTokens
    targets: dict[str, Targets]
    sample_ids: Tensor
    num_tokens: int
    num_examples: int

    buffer: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def pair_target(self) -> Targets | None:
        """The pair labels, one row an example; None if the examples are no pairs."""
        names = pair_names(self.targets)
        return self.targets[names[0]] if names else None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PackedBatch":
        """Copy every tensor to `device` in one transfer; the counts stay on the host."""
        buffer = pack_buffer(self) if self.buffer is None else self.buffer
        moved = buffer.to(device, non_blocking=non_blocking)
        return _views(moved, [tensor.shape[0] for tensor in _tensors(self)], _counts(self), list(self.targets))


def pair_names(target_names: Iterable[str]) -> list[str]:
    """Return the names of pair labels among those of targets: one, or none if the examples are no pairs."""
    return [name for name in target_names if name not in (MLM, ENTITIES)]


def _tensors(batch: PackedBatch) -> list[Tensor]:
    """Return the tensors of a batch in the order of its buffer."""
    tokens = batch.tokens
    shared = [tokens.input_ids, tokens.position_ids, tokens.token_type_ids, tokens.cu_seqlens, batch.sample_ids]
    return shared + [tensor for target in batch.targets.values() for tensor in (target.positions, target.labels)]


def _counts(batch: PackedBatch) -> list[int]:
    """Return the counts of a batch in the order of its buffer."""
    shared = [batch.tokens.max_seqlen, batch.num_tokens, batch.num_examples]
    return shared + [count for target in batch.targets.values() for count in (target.count, target.num_bytes)]


def pack_buffer(batch: PackedBatch) -> Tensor:
    """Return the whole batch as one int32 tensor: the sizes of its tensors, its counts, then the tensors."""
    tensors = _tensors(batch)
    header = torch.tensor([*(len(tensor) for tensor in tensors), *_counts(batch)], dtype=torch.int32)
    return torch.cat([header, *(tensor.to("cpu", torch.int32) for tensor in tensors)])


def unpack_buffers(buffer: Tensor, target_names: Sequence[str]) -> list[PackedBatch]:
    """Return the batches that lie one after another in a buffer on the host; their tensors are views of it.

    Args:
        buffer: Batches as `pack_buffer` and `collate.pack` write them, (int32 values,).
        target_names: Names of the targets of every batch, in their order.
    """
    num_tensors, num_counts = 5 + 2 * len(target_names), 3 + 2 * len(target_names)
    batches, begin = [], 0
    while begin < len(buffer):
        header = buffer[begin : begin + num_tensors + num_counts].tolist()
        sizes, counts = header[:num_tensors], header[num_tensors:]
        end = begin + len(header) + sum(sizes)
        batches.append(_views(buffer[begin:end], sizes, counts, target_names))
        begin = end
    return batches


def _views(buffer: Tensor, sizes: list[int], counts: list[int], target_names: Sequence[str]) -> PackedBatch:
    """Return the batch whose tensors are views of a buffer."""
    tensors = buffer[len(sizes) + len(counts) :].split(sizes)
    input_ids, position_ids, token_type_ids, cu_seqlens, sample_ids = tensors[:5]
    max_seqlen, num_tokens, num_examples = counts[:3]
    targets = {
        name: Targets(*tensors[5 + 2 * row : 7 + 2 * row], *counts[3 + 2 * row : 5 + 2 * row])
        for row, name in enumerate(target_names)
    }
    tokens = PackedTokens(input_ids, position_ids, token_type_ids, cu_seqlens, max_seqlen)
    return PackedBatch(tokens, targets, sample_ids, num_tokens, num_examples, buffer)


def example_digests(batch: PackedBatch) -> dict[int, bytes]:
    """Return a sha256 of everything an example says, by its position in the global batch.

    What else is in the micro-batch does not change the digest of an example, so the digests of all ranks together
    identify the global batch.
    """
    tokens = batch.tokens
    pair_labels = _pair_labels(batch)
    ends = tokens.cu_seqlens.tolist()
    asked = [
        np.stack([target.positions.numpy(), target.labels.numpy()])[:, : target.count]  # (2, rows)
        for target in (batch.targets[name] for name in (MLM, ENTITIES) if name in batch.targets)
    ]
    digests = {}
    for row in range(batch.num_examples):
        begin, end = ends[row], ends[row + 1]
        predictions, *mentions = (
            rows[:, (rows[0] >= begin) & (rows[0] < end)] - np.array([[begin], [0]]) for rows in asked
        )
        arrays = (
            tokens.input_ids[begin:end].numpy(),
            tokens.token_type_ids[begin:end].numpy(),
            predictions,
            pair_labels[row : row + 1],
            *mentions,
        )
        content = b"".join(np.ascontiguousarray(array, dtype="<i4").tobytes() for array in arrays)
        digests[int(batch.sample_ids[row])] = hashlib.sha256(content).digest()
    return digests


def _pair_labels(batch: PackedBatch) -> np.ndarray:
    """Return the pair label of every example, (examples,); `NO_LABEL` if the examples are no pairs."""
    pairs = batch.pair_target
    return np.full(len(batch.sample_ids), NO_LABEL) if pairs is None else pairs.labels.numpy()


def global_digest(digests: dict[int, bytes]) -> str:
    """Return one sha256, in hex, of a global batch from the digests of all its examples."""
    return hashlib.sha256(b"".join(digests[sample] for sample in sorted(digests))).hexdigest()


def batch_digest(batches: Sequence[PackedBatch]) -> str:
    """Return the `global_digest` of micro-batches that together are a global batch."""
    digests: dict[int, bytes] = {}
    for batch in batches:
        digests |= example_digests(batch)
    return global_digest(digests)
