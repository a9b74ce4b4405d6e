"""Removal of near duplicates with datatrove's MinHash: of documents that share most of their n-grams, one is kept.

    text -> signatures (a task a file) -> pairs that agree (a task a bucket) -> clusters (one task) -> text without them

Both splits are compared together, so few held-out documents have a near duplicate in the training split. Signatures are
sorted on disk. Only the pairs of near duplicates are in memory, for any size of the corpus.
"""

import resource
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr
from functools import partial
from io import StringIO
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.hashing import create_hash_func
from datatrove.utils.word_tokenizers import WordTokenizer
from numpy.typing import NDArray
from tokenizers import normalizers, pre_tokenizers

from data_pipeline.preparation.executors import Executor
from data_pipeline.preparation.extracted_text import SPLITS, ExtractedText, record_line
from data_pipeline.preparation.work_folder import WorkFolder
from data_pipeline.untrusted.internals import check_internal
from data_pipeline.whole_numbers import check_whole_number

REASON = "dropped: near duplicate"
SHINGLES_AT_A_TIME = 4096
_WITHOUT_PACKAGES = "aii"
"""Language for which datatrove loads no package to split words; `_Words` splits them instead."""


class MinHashDeduplication:
    """Deduplication that keeps one document of each cluster of near duplicates.

    Two documents that share a fraction s of their n-grams agree in a bucket with probability s^hashes_per_bucket. They
    are a pair if they agree in at least one bucket. The default settings find 56% of the pairs at s = 0.7, 92% at 0.8,
    and all but 0.04% at 0.9. Case, punctuation, accents and the values of numbers are ignored. Documents shorter than
    `n_grams` words are kept.

    Args:
        n_grams: Words of an n-gram.
        num_buckets: Number of buckets.
        hashes_per_bucket: Hashes of a bucket.
        seed: Seed of the hash functions.
    """

    def __init__(self, n_grams: int = 5, num_buckets: int = 14, hashes_per_bucket: int = 8, seed: int = 1) -> None:
        for name, value in (
            ("n_grams", n_grams),
            ("num_buckets", num_buckets),
            ("hashes_per_bucket", hashes_per_bucket),
        ):
            check_whole_number(f"deduplication.{name}", value)
        self.config = MinhashConfig(n_grams, num_buckets, hashes_per_bucket, seed)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the deduplication, for the manifest."""
        names = ("n_grams", "num_buckets", "hashes_per_bucket", "seed")
        return {name: getattr(self.config, name) for name in names}

    def run(self, work: WorkFolder, text: ExtractedText, num_files: int, executor: Executor) -> ExtractedText:
        """Return the text without near duplicates, in another folder."""
        stages = (
            ("signatures", _write_signatures, num_files),
            ("matching", _match, self.config.num_buckets),
            ("clustering", _cluster, 1),
            ("dropping", _drop, num_files),
        )
        for name, stage, num_tasks in stages:
            executor.run(name, partial(stage, work, text, self.config), num_tasks, work.tasks(name))
        return work.text("unique")


class _Words(WordTokenizer):
    """Word splitter of BERT's tokenizer: spaces and punctuation end a word, and every CJK character is a word."""

    def __init__(self) -> None:
        super().__init__()
        self._normalizer = normalizers.BertNormalizer(lowercase=False)
        self._splitter = pre_tokenizers.BertPreTokenizer()

    def word_tokenize(self, text: str) -> list[str]:
        return [word for word, _ in self._splitter.pre_tokenize_str(self._normalizer.normalize_str(text))]

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError


class _Signatures(MinhashDedupSignature):
    """datatrove's signatures, for words of any language, in little memory even for a whole book."""

    def __init__(self, folder: str, config: MinhashConfig) -> None:
        super().__init__(folder, config, _WITHOUT_PACKAGES)
        self.word_tokenizer = _Words()
        check_internal(self, "_hash_func", "datatrove 0.10.1")
        hash_bytes = create_hash_func(config.hash_config, bytes)
        self._hash_func = lambda words: hash_bytes(words.encode())  # xxhash 4 does not accept strings

    def get_signature(self, shingles: NDArray[np.uint64]) -> list[list[int]]:
        """Return the smallest hashes over all shingles, computed a few thousand shingles at a time."""
        blocks = range(0, len(shingles), SHINGLES_AT_A_TIME)
        signatures = [super(_Signatures, self).get_signature(shingles[i : i + SHINGLES_AT_A_TIME]) for i in blocks]
        smallest: list[list[int]] = np.array(signatures, dtype=np.uint64).min(axis=0).tolist()
        return smallest


def _documents(text: ExtractedText, number: int) -> Iterator[Document]:
    """Yield the documents of a task, training split first; the stages identify a document by its position."""
    for split in SPLITS:
        for record in text.records(split, number):
            yield Document(" ".join(record["sentences"]), record["identifier"], metadata={**record, "split": split})


def _write_signatures(work: WorkFolder, text: ExtractedText, config: MinhashConfig, number: int) -> None:
    with work.delivered() as scratch:
        _Signatures(str(scratch.folder("signatures")), config).run(_documents(text, number), number)


def _match(work: WorkFolder, text: ExtractedText, config: MinhashConfig, bucket: int) -> None:
    # All signature files of a bucket are open at the same time.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with work.delivered() as scratch:
            step = MinhashDedupBuckets(str(work.folder("signatures")), str(scratch.folder("matches")), config=config)
            step.run(rank=bucket, world_size=config.num_buckets)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _cluster(work: WorkFolder, text: ExtractedText, config: MinhashConfig, number: int) -> None:
    with work.delivered() as scratch, redirect_stderr(StringIO()):  # datatrove shows another progress bar
        MinhashDedupCluster(str(work.folder("matches")), str(scratch.folder("duplicates")), config).run()


def _drop(work: WorkFolder, text: ExtractedText, config: MinhashConfig, number: int) -> None:
    """Write the files of a task again, with only one document of each cluster."""
    before = text.report(number)
    report = before.without_documents()
    with work.delivered() as scratch, ExitStack() as stack:
        unique = scratch.text("unique")
        files = {s: stack.enter_context(unique.path(s, number).open("w", encoding="utf-8")) for s in SPLITS}
        kept = MinhashDedupFilter(str(work.folder("duplicates"))).run(_documents(text, number), number)
        for document in kept:
            record = dict(document.metadata)
            split = record.pop("split")
            files[split].write(record_line(record))
            report.add(record["title"], len(record["sentences"]), record["copies"] if split == "train" else 0)
        report.counts[REASON] = before.counts["documents"] - report.counts["documents"]
        unique.save_report(number, report)
