"""Examples of given sizes, and their packed batch."""

import numpy as np

from data_pipeline import rng
from data_pipeline.masking.masking import Masking, Vocabulary
from data_pipeline.pairs.chunks import Spans
from data_pipeline.streams.collate import pack
from data_pipeline.streams.packed_batch import PackedBatch, unpack_buffers
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.samples import Examples, LoadedWindow

PAD, CLS, SEP, MASK = 0, 2, 3, 4
VOCABULARY = Vocabulary(size=500, mask=MASK, cls=CLS, sep=SEP, pad=PAD, is_continuation=np.zeros(500, dtype=bool))


def pack_one(
    examples: Examples, shape: PackedShape, masking: Masking, vocabulary: Vocabulary, first_sample: int
) -> PackedBatch:
    """Pack all examples as one micro-batch."""
    every = np.arange(len(examples))
    names = ("mlm", "nsp")
    return unpack_buffers(pack(examples, [every], shape, masking, vocabulary, first_sample, names), names)[0]


def make_examples(sizes: list[tuple[int, int]], seed: int = 0) -> Examples:
    """Examples whose segments have the given sizes, out of one window of random tokens."""
    tokens = np.random.default_rng(seed).integers(5, 500, size=2000).astype(np.uint16)
    start = np.array([[7 * i, 900 + 11 * i] for i in range(len(sizes))], dtype=int).reshape(-1, 2)
    spans = Spans.of_pairs(start, start + np.array(sizes, dtype=int).reshape(-1, 2), np.arange(len(sizes)) % 2 == 1)
    samples = np.arange(100, 100 + len(sizes))
    window = LoadedWindow(tokens, None, None, None, None)  # type: ignore[arg-type]
    return Examples(samples, rng.fold(seed, samples), spans, np.zeros(len(sizes), dtype=int), [window])


SIZES = [(5, 9), (1, 1), (20, 9), (0, 0), (3, 26), (12, 0)]
