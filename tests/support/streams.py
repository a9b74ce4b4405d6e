"""Samples and streams of the tiny prepared folder."""

from pathlib import Path

from data_pipeline.masking.masking import TokenMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream import PretrainingStream

GLOBAL_BATCH = 48


def make_samples(folder: PreparedFolder | Path, split: str = "train", **changes: object) -> PretrainingSamples:
    settings = {
        "pairs": SegmentPairs(),
        "masking": TokenMasking(),
        "seq_len": 48,
        "seed": 3,
        "num_lanes": 4,
        "window_shards": 2,
    }
    return PretrainingSamples(folder, split, **(settings | changes))


def make_stream(samples: PretrainingSamples, micro_batch_size: int = 8, **changes: int) -> PretrainingStream:
    settings = {"global_batch_size": GLOBAL_BATCH, "num_steps": 100}
    return PretrainingStream(samples, micro_batch_size=micro_batch_size, **(settings | changes))
