"""Documents as sentence lengths, for the tests of the pair formats."""

from collections.abc import Sequence

import numpy as np

from data_pipeline.pairs.chunks import Layout


def make_lengths(documents: list[list[int]], texts: Sequence[int] | None = None) -> Layout:
    """Describe documents given as sentence lengths; without `texts`, those of the same lengths are copies."""
    numbers = {shape: number for number, shape in enumerate(sorted(set(map(tuple, documents))))}
    texts = [numbers[tuple(document)] for document in documents] if texts is None else texts
    sentences = [length for document in documents for length in document]
    return Layout(
        np.concatenate([[0], np.cumsum(sentences, dtype=np.int64)]).astype(np.int64),
        np.concatenate([[0], np.cumsum([len(document) for document in documents])]).astype(np.int64),
        np.array(texts, dtype=np.uint64),
    )


def random_documents(count: int, seed: int = 0, longest: int = 60) -> list[list[int]]:
    """Return documents of log-normal numbers of sentences of uniform lengths."""
    numbers = np.random.default_rng(seed)
    return [numbers.integers(1, longest, size=max(1, int(numbers.lognormal(2, 1)))).tolist() for _ in range(count)]


def document_of(lengths: Layout, tokens: np.ndarray) -> np.ndarray:
    """Return the document each token lies in."""
    begins = lengths.sentence_offsets[lengths.document_offsets]
    return np.searchsorted(begins, tokens, side="right") - 1
