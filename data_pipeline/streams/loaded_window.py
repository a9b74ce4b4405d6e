"""A window in memory: the tokens of its shards, and its examples in reading order."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data_pipeline.pairs.chunks import Chunks, Layout
from data_pipeline.prepared.mentions_file import Mentions
from data_pipeline.rng import Keys

Tokens = NDArray[np.uint16] | NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class LoadedWindow:
    """The shards of a window, one after another.

    Attributes:
        tokens: Token ids, (tokens,).
        layout: Sentences and documents of the window.
        chunks: The planned examples, shard by shard, (examples,).
        identities: Keys of the chunks that do not depend on the epoch or on when they are read, (examples,).
        order: The order in which the chunks are read, (examples,).
        mentions: Mentions of entities in the tokens; None if they were not asked for.
    """

    tokens: Tokens
    layout: Layout
    chunks: Chunks
    identities: Keys
    order: NDArray[np.int64]
    mentions: Mentions | None = None

    @staticmethod
    def join(
        tokens: Tokens,
        layouts: Sequence[Layout],
        chunks: Sequence[Chunks],
        identities: Sequence[Keys],
        order: NDArray[np.int64],
        mentions: Sequence[Mentions] | None = None,
    ) -> "LoadedWindow":
        """Return the window of some shards: `tokens` of all, `order` of all chunks, and the rest shard by shard."""
        joined = Layout(
            _join_offsets([shard.sentence_offsets for shard in layouts]),
            _join_offsets([shard.document_offsets for shard in layouts]),
            np.concatenate([shard.texts for shard in layouts]),
        )
        sentences_before = np.cumsum([0] + [len(shard.sentence_offsets) - 1 for shard in layouts])[:-1]  # (shards,)
        joined_chunks = Chunks.join(chunks, sentences_before)
        tokens_before = np.cumsum([0] + [int(shard.sentence_offsets[-1]) for shard in layouts])[:-1]  # (shards,)
        joined_mentions = None if mentions is None else Mentions.join(mentions, tokens_before)
        return LoadedWindow(tokens, joined, joined_chunks, np.concatenate(identities), order, joined_mentions)


def _join_offsets(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Concatenate offset arrays, each beginning at 0, so that each continues at the end of the one before.

    >>> _join_offsets([np.array([0, 3, 5]), np.array([0, 4])]).tolist()
    [0, 3, 5, 9]
    """
    bases = np.cumsum([0] + [int(part[-1]) for part in parts])  # (parts + 1,)
    return np.concatenate(
        [bases[:1]] + [part[1:] + base for part, (base, _) in zip(parts, pairwise(bases), strict=True)]
    )
