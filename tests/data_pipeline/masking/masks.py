"""Random examples, and what a masking makes of them."""

from collections.abc import Callable

import numpy as np

from data_pipeline import rng
from data_pipeline.masking.masking import Masking, Vocabulary

PAD, CLS, SEP, MASK, SIZE = 0, 2, 3, 4, 1000
VOCABULARY = Vocabulary(size=SIZE, mask=MASK, cls=CLS, sep=SEP, pad=PAD, is_continuation=np.arange(SIZE) >= 700)


def packed_examples(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ragged [CLS] A [SEP] B [SEP] examples of random ids, one after another, with their offsets."""
    numbers = np.random.default_rng(seed)
    parts = []
    for _ in range(number):
        a, b = (numbers.integers(5, SIZE, size=size) for size in numbers.integers(1, 60, size=2))
        parts.append(np.concatenate([[CLS], a, [SEP], b, [SEP]]))
    return np.concatenate(parts).astype(np.int32), np.cumsum([0] + [len(part) for part in parts])


def masked(
    method: Callable[..., Masking], number: int = 400, key: int = 0, **kwargs: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    before, cu_seqlens = packed_examples(number)
    after = before.copy()
    positions, labels = method(**kwargs)(after, cu_seqlens, rng.fold(key, np.arange(number)), VOCABULARY)
    return before, after, positions, labels, cu_seqlens
