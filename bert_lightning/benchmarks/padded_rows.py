"""The examples of our stream as padded rows, through the same kind of loader, to compare packing with."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bert_lightning.benchmarks.stream_speed import LOADED_AHEAD, Measure, Share, speed
from data_pipeline.processes.child_processes import serve_main_process
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.collate import pack
from data_pipeline.streams.packed_batch import MLM, PackedBatch, unpack_buffers
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.samples import PretrainingSamples

INPUT_IDS, TOKEN_TYPES, ATTENTION, LABELS = range(4)


class PaddedRows(Dataset[Tensor]):
    """Map a first sample to the global batch that begins there, (4, examples, seq_len): ids, types, mask, labels."""

    def __init__(self, samples: PretrainingSamples, global_batch_size: int) -> None:
        self.samples = samples
        self.shape = PackedShape(global_batch_size, samples.seq_len)

    def __getitem__(self, first_sample: int) -> Tensor:
        samples = self.samples
        numbers = np.arange(first_sample, first_sample + self.shape.num_examples)
        examples = samples.find(numbers, samples.locate(numbers))
        every = np.arange(len(examples))
        buffer = pack(
            examples, [every], self.shape, samples.masking, samples.vocabulary, first_sample, samples.target_names
        )
        (batch,) = unpack_buffers(buffer, samples.target_names)
        return _rows(batch, samples.vocabulary.pad)


def _rows(batch: PackedBatch, pad: int) -> Tensor:
    """Lay a packed batch out, all examples at once; a token that is not to be predicted has no label."""
    tokens, mlm, room = batch.tokens, batch.targets[MLM], batch.num_examples * batch.tokens.max_seqlen
    lengths = torch.diff(tokens.cu_seqlens[: batch.num_examples + 1])
    owner = torch.repeat_interleave(torch.arange(batch.num_examples), lengths)
    cells = owner * tokens.max_seqlen + tokens.position_ids[: batch.num_tokens]  # (real tokens,)
    rows = torch.zeros(4, room, dtype=torch.int32)
    rows[INPUT_IDS] = pad
    rows[LABELS] = NO_LABEL
    rows[INPUT_IDS, cells] = tokens.input_ids[: batch.num_tokens]
    rows[TOKEN_TYPES, cells] = tokens.token_type_ids[: batch.num_tokens]
    rows[ATTENTION, cells] = 1
    rows[LABELS, cells[mlm.positions[: mlm.count].long()]] = mlm.labels[: mlm.count]
    return rows.view(4, batch.num_examples, tokens.max_seqlen)


def padded_speed(samples: PretrainingSamples, share: Share, num_workers: int, seconds: float) -> Measure:
    """Return a measurement of the same examples as rows padded to `seq_len`."""

    def measure() -> tuple[float, float]:
        return speed(iter(padded_batches(samples, share, num_workers)), _sizes, num_workers, seconds)

    return measure


def padded_batches(samples: PretrainingSamples, share: Share, num_workers: int = 0) -> Iterator[Tensor]:
    """Yield one global batch after another."""
    loader = DataLoader(
        PaddedRows(samples, share.global_batch_size),
        batch_size=None,
        sampler=count(0, share.global_batch_size),
        num_workers=num_workers,
        prefetch_factor=LOADED_AHEAD if num_workers else None,
        worker_init_fn=serve_main_process,
    )
    return iter(loader)


def _sizes(rows: Tensor) -> tuple[int, int]:
    return int(rows[ATTENTION].sum()), rows[ATTENTION].numel()
