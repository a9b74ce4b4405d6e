"""How many tokens an example has on average, measured on a few shards: what a budget in tokens is counted with."""

from collections.abc import Sequence

import numpy as np

from data_pipeline import rng
from data_pipeline.pairs.chunks import Lengths, PairFormat
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams.example_index import plan_shard

MOST_SHARDS = 8
"""Shards that are read for it; those of a corpus are much alike, since documents are dealt to them."""


def mean_length(
    folder: PreparedFolder, pairs: PairFormat, seq_len: int, seed: int, exclude_shards: Sequence[str] = ()
) -> float:
    """Return the mean number of real tokens of a training example, special tokens counted.

    It is the same in every process and at every start, because it depends on the corpus and the settings alone.

    Args:
        folder: A prepared folder.
        pairs: How documents become examples.
        seq_len: Most tokens of an example.
        seed: Seed of the pairs.
        exclude_shards: Names of shards to leave out.

    Raises:
        ValueError: if the shards give no example.
    """
    entries = folder.manifest.without(list(exclude_shards)).splits["train"]
    chosen = np.unique(np.linspace(0, len(entries) - 1, min(MOST_SHARDS, len(entries))).round().astype(int)).tolist()
    tokens = examples = 0
    for number in chosen:
        (shard,) = folder.read([entries[number]])
        lengths = Lengths(shard.sentence_offsets, shard.document_offsets, shard.document_hashes)
        chunks = plan_shard(pairs, lengths, seq_len, seed, number, 0)
        keys = rng.fold(seed, np.arange(len(chunks)))  # (examples of the shard,)
        if len(chunks):
            tokens += int(pairs.spans(chunks, lengths, seq_len, keys).lengths.sum())
            examples += len(chunks)
    if not examples:
        raise ValueError(f"the train split of {folder} gives no example of data.seq_len={seq_len}")
    return tokens / examples
