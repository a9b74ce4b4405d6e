"""How many tokens examples have, measured on a few shards: for budgets in tokens, and for the sizes of batches."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.pairs.chunks import Layout, PairFormat
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams.example_index import plan_shard

MOST_SHARDS = 8
"""Shards that are read for it; those of a corpus are much alike, since documents are dealt to them."""


def example_lengths(
    folder: PreparedFolder, entries: Sequence[ShardEntry], pairs: PairFormat, seq_len: int, seed: int
) -> NDArray[np.int64]:
    """Return the numbers of real tokens of the examples of a few shards, special tokens counted, (examples,).

    They are the same in every process and at every start, because they depend on the corpus and the settings alone.
    The lengths of sentences suffice: no shard is fetched that has them in a file beside it.

    Args:
        folder: A prepared folder.
        entries: The shards of the split, without those that are left out.
        pairs: How documents become examples.
        seq_len: Most tokens of an example.
        seed: Seed of the pairs.

    Raises:
        ValueError: if the shards give no example.
    """
    chosen = np.unique(np.linspace(0, len(entries) - 1, min(MOST_SHARDS, len(entries))).round().astype(int)).tolist()
    found: list[NDArray[np.int64]] = []
    for number, offsets in zip(chosen, folder.read_lengths([entries[number] for number in chosen]), strict=True):
        layout = Layout(*offsets, folder.read_hashes(entries[number]))
        chunks = plan_shard(pairs, layout, seq_len, seed, number, 0)
        if len(chunks):
            keys = rng.fold(seed, np.arange(len(chunks)))  # (examples of the shard,)
            found.append(pairs.spans(chunks, layout, seq_len, keys).lengths)
    if not found:
        raise ValueError(f"the shards of {folder} that were looked at give no example of data.seq_len={seq_len}")
    return np.concatenate(found)
