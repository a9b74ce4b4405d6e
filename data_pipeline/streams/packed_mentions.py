"""Mentions of the entities in examples: where their first tokens are in the joined examples, and which entities."""

import numpy as np
from numpy.typing import NDArray

from data_pipeline.pairs.chunks import Spans
from data_pipeline.streams.samples import Examples


def segment_begins(spans: Spans, cu_seqlens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the tokens of each segment begin in the joined examples, (examples, segments).

    An example is [CLS] and its segments, with a [SEP] behind each that has one.

    Args:
        spans: The examples.
        cu_seqlens: Where each example begins, (examples,).
    """
    sizes = spans.stop - spans.start  # (examples, segments)
    sizes_with_sep = sizes + spans.has_separator
    return cu_seqlens[:, None] + 1 + np.cumsum(sizes_with_sep, axis=1) - sizes_with_sep


def mention_targets(examples: Examples, cu_seqlens: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the position of the first token of each mention, ascending, and its entity, both (mentions,).

    A mention counts if it lies wholly in a segment.

    Args:
        examples: The examples, in the order in which they are joined.
        cu_seqlens: Where each example begins, and the end, (examples + 1,).
    """
    begins = segment_begins(examples.spans, cu_seqlens[:-1])  # (examples, segments)
    positions, labels = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for number, window in enumerate(examples.windows):
        mentions = window.mentions
        assert mentions is not None
        rows = np.flatnonzero(examples.window == number)  # (examples of the window,)
        start, stop = examples.spans.start[rows].ravel(), examples.spans.stop[rows].ravel()  # (segments,)
        first = np.searchsorted(mentions.begins, start)
        counts = np.maximum(np.searchsorted(mentions.begins + mentions.sizes, stop, side="right") - first, 0)
        before = np.cumsum(counts) - counts  # (segments,)
        chosen = np.arange(counts.sum()) + np.repeat(first - before, counts)  # (mentions of the window,)
        moved = np.repeat(begins[rows].ravel() - start, counts)
        positions.append(mentions.begins[chosen] + moved)
        labels.append(mentions.entities[chosen])
    order = np.argsort(np.concatenate(positions))
    return np.concatenate(positions)[order], np.concatenate(labels)[order]
