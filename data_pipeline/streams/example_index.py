"""How many examples each shard gives: the one thing about the whole corpus that the order of the stream needs.

Counting reads the lengths of every shard once for each cut of the corpus (`dupe_factor`), so the counts are kept in a
file named by all that decides them. Writing is atomic and the content a pure function of the name: processes may do it
at the same time.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Lengths, PairFormat
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.untrusted.plain_files import read_plain

READ_TOGETHER = 16


def plan_shard(pairs: PairFormat, lengths: Lengths, seq_len: int, seed: int, shard: int, variant: int) -> Chunks:
    """Plan the examples of one shard; the same wherever and whenever it is called."""
    return pairs.plan(lengths, seq_len, rng.fold(seed, shard, variant))


class ExampleIndex:
    """Counts of examples a shard, made on first use and kept in a cache folder.

    Args:
        folder: The prepared folder; its `index_dir` is where the counts are kept, if it can be written to.
        split: "train" or "validation".
        manifest: Its manifest, without the shards that are left out.
        pairs: How documents become examples.
        seq_len: Most tokens of an example.
        seed: Of the plan.
    """

    def __init__(
        self,
        folder: PreparedFolder,
        split: str,
        manifest: Manifest,
        pairs: PairFormat,
        seq_len: int,
        seed: int,
    ) -> None:
        self._folder = folder
        self._entries = manifest.splits[split]
        self._pairs = pairs
        self._seq_len = seq_len
        self._seed = seed
        self._counts: dict[int, NDArray[np.int64]] = {}
        decides = [1, manifest.content_sha256, split, pairs.describe(), seq_len, seed]
        self._name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def counts(self, variant: int) -> NDArray[np.int64]:
        """Return the number of examples of every shard for one cut of the corpus, (shards,)."""
        if variant not in self._counts:
            self._counts[variant] = self._read_or_count(variant)
        return self._counts[variant]

    def _read_or_count(self, variant: int) -> NDArray[np.int64]:
        path = self._folder.index_dir / f"{self._name}-{variant:03d}.json"
        if (kept := _read_counts(path, [entry.tokens for entry in self._entries])) is not None:
            return kept
        counts = self._count(variant)
        _write_if_possible(path, json.dumps(counts))
        return np.array(counts, dtype=np.int64)

    def _count(self, variant: int) -> list[int]:
        counts: list[int] = []
        for begin in range(0, len(self._entries), READ_TOGETHER):
            middle, end = begin + READ_TOGETHER, begin + 2 * READ_TOGETHER
            self._folder.prefetch(self._entries[middle:end])
            for offsets in self._folder.read_lengths(self._entries[begin:middle]):
                chunks = plan_shard(self._pairs, Lengths(*offsets), self._seq_len, self._seed, len(counts), variant)
                counts.append(len(chunks))
        return counts

    def check(self, shards: Sequence[int], variant: int, found: Sequence[int]) -> None:
        """Compare what shards really gave with what was counted, so that a spoilt index cannot shift the stream."""
        counts = self.counts(variant)
        for shard, number in zip(shards, found, strict=True):
            if counts[shard] != number:
                raise ValueError(
                    f"the example index in {self._folder.index_dir} says that shard {self._entries[shard].name} gives "
                    f"{counts[shard]} examples, it gives {number}; delete the index"
                )


def _read_counts(path: Path, most: Sequence[int]) -> NDArray[np.int64] | None:
    """Return kept counts; None if there are none, or the file is damaged, which is then written anew.

    Args:
        path: The file.
        most: Tokens of each shard, which gives fewer examples than it has tokens.
    """
    try:
        counts = json.loads(read_plain(path.parent, path.name))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(counts, list) or len(counts) != len(most):
        return None
    if not all(type(count) is int and 0 <= count <= limit for count, limit in zip(counts, most, strict=True)):
        return None
    return np.array(counts, dtype=np.int64)


def _write_if_possible(path: Path, text: str) -> None:
    """Write a file atomically; a read-only folder or a full disk only costs the next process its time."""
    temporary = None
    if path.parent.is_symlink():  # out of a folder that others wrote
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".index-")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
