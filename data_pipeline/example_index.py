"""How many examples each shard gives: the one thing about the whole corpus that the order of the stream needs.

Counting reads every shard once for each cut of the corpus (`dupe_factor`), so the counts are kept in a file named by
all that decides them. Writing is atomic and the content a pure function of the name: processes may do it at the same
time.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.manifest import Manifest
from data_pipeline.pairs.chunks import Chunks, Lengths, PairFormat
from data_pipeline.shards import read_shard


def plan_shard(pairs: PairFormat, lengths: Lengths, seq_len: int, seed: int, shard: int, variant: int) -> Chunks:
    """Plan the examples of one shard; the same wherever and whenever it is called."""
    return pairs.plan(lengths, seq_len, rng.fold(seed, shard, variant))


class ExampleIndex:
    """Counts of examples a shard, made on first use and kept in a cache folder.

    Args:
        folder: The prepared folder.
        split: "train" or "validation".
        manifest: Its manifest.
        pairs: How documents become examples.
        seq_len: Most tokens of an example.
        seed: Of the plan.
        cache_dir: Where to keep the counts; `<folder>/index` by default. Where it cannot be written nothing is kept.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        manifest: Manifest,
        pairs: PairFormat,
        seq_len: int,
        seed: int,
        cache_dir: str | Path | None = None,
    ) -> None:
        self._folder = folder
        self._entries = manifest.splits[split]
        self._pairs = pairs
        self._seq_len = seq_len
        self._seed = seed
        self._cache_dir = Path(cache_dir) if cache_dir else folder / "index"
        self._counts: dict[int, NDArray[np.int64]] = {}
        decides = [1, manifest.content_sha256, split, pairs.describe(), seq_len, seed]
        self._name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def counts(self, variant: int) -> NDArray[np.int64]:
        """Return the number of examples of every shard for one cut of the corpus, (shards,)."""
        if variant not in self._counts:
            self._counts[variant] = self._read_or_count(variant)
        return self._counts[variant]

    def _read_or_count(self, variant: int) -> NDArray[np.int64]:
        path = self._cache_dir / f"{self._name}-{variant:03d}.json"
        if (kept := _read_counts(path, len(self._entries))) is not None:
            return kept
        counts = [self._count(shard, variant) for shard in range(len(self._entries))]
        _write_if_possible(path, json.dumps(counts))
        return np.array(counts, dtype=np.int64)

    def _count(self, shard: int, variant: int) -> int:
        read = read_shard(self._folder, self._entries[shard])
        lengths = Lengths(read.sentence_offsets, read.document_offsets)
        return len(plan_shard(self._pairs, lengths, self._seq_len, self._seed, shard, variant))


def _read_counts(path: Path, num_shards: int) -> NDArray[np.int64] | None:
    """Return kept counts; None where there are none, or a damaged file, which is written anew."""
    try:
        counts = np.array(json.loads(path.read_text()), dtype=np.int64)
    except (OSError, ValueError, TypeError):
        return None
    return counts if counts.shape == (num_shards,) else None


def _write_if_possible(path: Path, text: str) -> None:
    """Write a file atomically; a read-only folder only costs the next process its time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".index-")
    except OSError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(temporary, path)
