"""Segment pairs -> one packed batch: the real tokens of a micro-batch, one after another, no padding between.

Token counts are rounded up to a multiple so that compiled shapes stay few; the filler at the end is a sequence of its own
that nothing reads. The whole batch crosses the worker boundary as one int32 tensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_pipeline.records import NO_LABEL, SegmentPair, TokenIds
from data_pipeline.tokenizer import SpecialTokens


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One micro-batch. `tokens`, `predictions` and `pairs` include filler; the counts do not.

    Attributes:
        input_ids: Token ids after masking, (tokens,).
        position_ids: Position of each token in its own sequence, (tokens,).
        token_type_ids: 0 for [CLS] A [SEP], 1 for B [SEP], (tokens,).
        cu_seqlens: Start offset of each sequence and the end of the last, (sequences + 1,). Filler is the last sequences.
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

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PackedBatch":
        """Copy every tensor to `device` in one transfer; the counts stay on the host."""
        return unpack_buffer(pack_buffer(self).to(device, non_blocking=non_blocking), self)


_TENSORS = [f.name for f in fields(PackedBatch) if f.type in (Tensor, "Tensor")]
_COUNTS = [f.name for f in fields(PackedBatch) if f.name not in _TENSORS]
