"""Near duplicates: of documents that share most of their n-grams of words one stays, by MinHash as datatrove does it.

    text -> signatures (a task a file) -> pairs that agree (a task a bucket) -> clusters (one task) -> text without them

Both splits are looked at together, so that no held-out document has a near copy in the training split. Signatures are
sorted on disk; what is in memory are the pairs of near duplicates, whatever the size of the corpus.
"""

import resource
from collections import Counter
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

from data_pipeline.internals import check_internal
from data_pipeline.preparation.executors import Executor
from data_pipeline.preparation.extracted_text import SPLITS, ExtractedText, ExtractionReport, record_line
from data_pipeline.preparation.work_folder import WorkFolder
from data_pipeline.whole_numbers import check_whole_number

REASON = "dropped: near duplicate"
SHINGLES_AT_A_TIME = 4096
_WITHOUT_PACKAGES = "aii"
"""A language for which datatrove loads no package that splits words; ours are split by `_Words`."""


class MinHashDeduplication:
    """Keep one of every cluster of near duplicates.

    Two documents that share a part s of their n-grams agree in a bucket with probability s^hashes_per_bucket, and are a
    pair where they agree in one bucket or more: with the values given here 56% of the pairs at s = 0.7, 92% at 0.8 and
    all but 0.04% at 0.9. Case, punctuation, accents and which numbers stand in a text do not count. Documents shorter
    than `n_grams` words are left alone.

    Args:
        n_grams: Words of an n-gram.
        num_buckets: Buckets.
        hashes_per_bucket: Hashes of a bucket.
        seed: Of the hash functions.
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
        """What tells this from another deduplication, for the manifest."""
        names = ("n_grams", "num_buckets", "hashes_per_bucket", "seed")
        return {name: getattr(self.config, name) for name in names}

    def run(self, work: WorkFolder, text: ExtractedText, num_files: int, executor: Executor) -> ExtractedText:
        """Return the text without near duplicates, in a folder of its own."""
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
    """Words as BERT's tokenizer sees them: spaces and punctuation end them, and every CJK character is one."""

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
    """datatrove's signatures of words in any language; a whole book takes little memory."""

    def __init__(self, folder: str, config: MinhashConfig) -> None:
        super().__init__(folder, config, _WITHOUT_PACKAGES)
        self.word_tokenizer = _Words()
        check_internal(self, "_hash_func", "datatrove 0.10.1")
        hash_bytes = create_hash_func(config.hash_config, bytes)
        self._hash_func = lambda words: hash_bytes(words.encode())  # xxhash 4 takes no strings

    def get_signature(self, shingles: NDArray[np.uint64]) -> list[list[int]]:
        """Return the smallest hash of all shingles, taken a few thousand at a time."""
        blocks = range(0, len(shingles), SHINGLES_AT_A_TIME)
        parts = [super(_Signatures, self).get_signature(shingles[i : i + SHINGLES_AT_A_TIME]) for i in blocks]
        smallest: list[list[int]] = np.array(parts, dtype=np.uint64).min(axis=0).tolist()
        return smallest


def _documents(text: ExtractedText, number: int) -> Iterator[Document]:
    """Yield the documents of a file, training split first; their places are how the stages name them."""
    for split in SPLITS:
        for record in text.records(split, number):
            yield Document(" ".join(record["sentences"]), record["identifier"], metadata={**record, "split": split})


def _write_signatures(work: WorkFolder, text: ExtractedText, config: MinhashConfig, number: int) -> None:
    with work.delivered() as own:
        _Signatures(str(own.folder("signatures")), config).run(_documents(text, number), number)


def _match(work: WorkFolder, text: ExtractedText, config: MinhashConfig, bucket: int) -> None:
    # All signature files of a bucket are open at once.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with work.delivered() as own:
            step = MinhashDedupBuckets(str(work.folder("signatures")), str(own.folder("matches")), config=config)
            step.run(rank=bucket, world_size=config.num_buckets)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _cluster(work: WorkFolder, text: ExtractedText, config: MinhashConfig, number: int) -> None:
    with work.delivered() as own, redirect_stderr(StringIO()):  # it shows a bar of its own
        MinhashDedupCluster(str(work.folder("matches")), str(own.folder("duplicates")), config).run()


def _drop(work: WorkFolder, text: ExtractedText, config: MinhashConfig, number: int) -> None:
    """Write a file again without the documents that another one of their cluster stands for."""
    before = text.report(number)
    report = ExtractionReport(Counter({**before.counts, "documents": 0, "sentences": 0}))
    with work.delivered() as own, ExitStack() as stack:
        unique = own.text("unique")
        files = {s: stack.enter_context(unique.path(s, number).open("w", encoding="utf-8")) for s in SPLITS}
        kept = MinhashDedupFilter(str(work.folder("duplicates"))).run(_documents(text, number), number)
        for document in kept:
            record = dict(document.metadata)
            split = record.pop("split")
            files[split].write(record_line(record))
            report.add(record["title"], len(record["sentences"]), record["copies"] if split == "train" else 0)
        report.counts[REASON] = before.counts["documents"] - report.counts["documents"]
        unique.save_report(number, report)
