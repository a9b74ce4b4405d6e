"""How many examples each shard gives: the one thing about the whole corpus that the order of the stream needs.

Counting reads the sentence lengths of every shard once for each cut of the corpus (`dupe_factor`), so the counts are
kept in a file whose name is a hash of all that decides them. One process counts and holds a lock, which the kernel
releases if the process ends early; the others wait for the lock, however long that takes. A process that cannot lock
or write counts for itself. The file is written atomically and its content depends on its name alone, so it does no
harm if two processes write it.
"""

import contextlib
import hashlib
import json
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.typing import NDArray

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, PairFormat
from data_pipeline.prepared.lengths_file import Offsets
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.processes.processors import num_processors
from data_pipeline.streams.shard_counters import SHARDS_AT_ONCE, ShardCounters
from data_pipeline.untrusted.plain_files import read_plain

log = logging.getLogger(__name__)
QUIET_SECONDS = 10.0
"""How long a process waits for the one that counts before it says so."""
LOWEST_PRIORITY = 19


def plan_shard(pairs: PairFormat, layout: Layout, seq_len: int, seed: int, shard: int, variant: int) -> Chunks:
    """Plan the examples of one shard; the same wherever and whenever it is called."""
    return pairs.plan(layout, seq_len, rng.fold(seed, shard, variant))


class ExampleIndex:
    """Counts of examples a shard, made on first use and kept in a cache folder.

    Args:
        folder: The prepared folder; its `index_dir` is where the counts are kept, if it can be written to.
        split: "train" or "validation".
        manifest: The manifest of the folder, without the shards that are left out.
        pairs: How documents become examples.
        seq_len: Most tokens of an example.
        seed: Seed of the plan.
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
        decides = [2, manifest.content_sha256, split, pairs.describe(), seq_len, seed]
        self._name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def counts(self, variant: int) -> NDArray[np.int64]:
        """Return the number of examples of every shard for one cut of the corpus, (shards,)."""
        if variant not in self._counts:
            self._counts[variant] = self._read_or_count(variant)
        return self._counts[variant]

    def count_ahead(self, variants: Sequence[int]) -> None:
        """Begin to count cuts of the corpus that will be needed, in the order given, and return at once.

        Processes of the lowest priority count, on a quarter of the processors; a thread of this process writes what
        they find. A corpus of a few shards is counted in a moment when it is needed, and nothing is begun here.
        """
        missing = [variant for variant in variants if self._read(variant) is None]
        if not missing or len(self._entries) <= SHARDS_AT_ONCE or not _can_write(self._folder.index_dir):
            return
        num_processes = max(1, num_processors() // 4)
        counters = ShardCounters(self._count_range, len(self._entries), missing, num_processes, LOWEST_PRIORITY)
        Thread(target=self._write_ahead, args=(counters, missing), daemon=True).start()

    def _write_ahead(self, counters: ShardCounters, variants: Sequence[int]) -> None:
        with contextlib.suppress(ValueError, EOFError):  # who needs the counts will count, and say what is wrong
            for variant in variants:
                with self._lock(variant):
                    _write_if_possible(self._path(variant), json.dumps(counters.next_counts()))

    def _path(self, variant: int) -> Path:
        return self._folder.index_dir / f"{self._name}-{variant:03d}.json"

    def _read(self, variant: int) -> NDArray[np.int64] | None:
        return _read_counts(self._path(variant), [entry.tokens for entry in self._entries])

    def _read_or_count(self, variant: int) -> NDArray[np.int64]:
        if (kept := self._read(variant)) is not None:
            return kept
        with self._lock(variant):
            if (kept := self._read(variant)) is not None:
                return kept
            counts = self._count(variant)
            _write_if_possible(self._path(variant), json.dumps(counts))
        return np.array(counts, dtype=np.int64)

    @contextlib.contextmanager
    def _lock(self, variant: int) -> Iterator[None]:
        """Hold the lock of a cut of the corpus, or go on without it if the folder has no locks."""
        path = self._path(variant).with_suffix(".lock")
        lock = FileLock(path, thread_local=False)
        with contextlib.suppress(OSError, NotImplementedError):  # no such folder, or no locks here
            path.parent.mkdir(parents=True, exist_ok=True)
            _wait_for(lock)
        try:
            yield
        finally:
            if lock.is_locked:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                lock.release()

    def _count(self, variant: int) -> list[int]:
        """Count all shards: in several processes if they are many, unless this process may not begin others."""
        num_shards, num_processes = len(self._entries), num_processors()
        if num_shards <= SHARDS_AT_ONCE or num_processes == 1 or multiprocessing.current_process().daemon:
            return self._count_range(0, num_shards, variant)
        try:
            return ShardCounters(self._count_range, num_shards, [variant], num_processes).next_counts()
        except EOFError:
            return self._count_range(0, num_shards, variant)

    def _count_range(self, first: int, last: int, variant: int) -> list[int]:
        """Return the examples of the shards from `first` up to `last`, for one cut of the corpus."""
        counts: list[int] = []
        for begin in range(first, last, SHARDS_AT_ONCE):
            middle = min(begin + SHARDS_AT_ONCE, last)
            self._folder.prefetch_lengths(self._entries[middle : min(middle + SHARDS_AT_ONCE, last)])
            for shard, offsets in enumerate(self._folder.read_lengths(self._entries[begin:middle]), begin):
                counts.append(len(self._plan(shard, offsets, variant)))
        return counts

    def _plan(self, shard: int, offsets: tuple[Offsets, Offsets], variant: int) -> Chunks:
        """Plan the examples of a shard from its lengths.

        A plan depends on copies only if all documents of the shard are copies of one text. If two have different
        numbers of tokens, they are not, and these numbers tell as much as the hashes of the documents would.
        """
        sentences, documents = offsets
        sizes = np.diff(sentences[documents]).astype(np.uint64)  # (documents,)
        texts = sizes if (sizes != sizes[0]).any() else self._folder.read_hashes(self._entries[shard])
        layout = Layout(sentences, documents, texts)
        return plan_shard(self._pairs, layout, self._seq_len, self._seed, shard, variant)

    def changed_share(self, most_shards: int = 16) -> float | None:
        """Return the share of pairs of label 1 in shards spread evenly over the split; None without a pair."""
        step = -(-len(self._entries) // most_shards)
        shards = range(0, len(self._entries), step)
        offsets = self._folder.read_lengths(self._entries[::step])
        changed = np.concatenate([self._plan(n, o, 0).is_changed for n, o in zip(shards, offsets, strict=True)])
        return float(changed.mean()) if len(changed) else None

    def check(self, shards: Sequence[int], variant: int, num_examples: Sequence[int]) -> None:
        """Compare what shards gave with what was counted, so that a wrong index cannot shift the stream.

        Args:
            shards: Numbers of the shards.
            variant: Cut of the corpus.
            num_examples: Examples that each of the shards gave.

        Raises:
            ValueError: if the index says something else of a shard.
        """
        counts = self.counts(variant)
        for shard, number in zip(shards, num_examples, strict=True):
            if counts[shard] != number:
                raise ValueError(
                    f"the example index in {self._folder.index_dir} says that shard {self._entries[shard].name} gives "
                    f"{counts[shard]} examples, but it gives {number}; delete the index"
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


def _wait_for(lock: BaseFileLock) -> None:
    """Take a lock as soon as no living process holds it; say once that this takes long."""
    try:
        lock.acquire(timeout=QUIET_SECONDS)
    except Timeout:
        log.warning("another process counts examples and holds %s; waiting until it has finished", lock.lock_file)
        lock.acquire(timeout=-1, poll_interval=0.5)


def _can_write(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK)


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
