"""The statistics of a stream against direct counts."""

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.prepared.manifest import Manifest
from data_pipeline.streams.stream_statistics import StreamStatistics, token_counts, unigram_entropy
from tests.support.corpora import read_shard
from tests.support.streams import make_samples, make_stream


def test_shares_and_lengths_are_those_of_the_batches(prepared: Path) -> None:
    samples = make_samples(prepared)
    statistics, tokens, predictions, randoms, lengths = (
        StreamStatistics(samples.vocabulary, ("is_next", "random_next")),
        0,
        0,
        0,
        [],
    )
    for batches in islice(make_stream(samples), 5):
        statistics.add(batches)
        for batch in batches:
            tokens += batch.num_tokens
            predictions += int((batch.targets["mlm"].labels != -100).sum())
            randoms += int((batch.targets["nsp"].labels == 1).sum())
            lengths += batch.tokens.cu_seqlens.diff()[: batch.num_examples].tolist()
    table = statistics.table()
    assert table["examples"] == 240
    assert table["tokens"] == tokens == sum(lengths)
    assert table["predicted_share"] == pytest.approx(predictions / tokens)
    assert table["random_next_share"] == pytest.approx(randoms / 240)
    assert table["full_length_share"] == pytest.approx(lengths.count(48) / 240)
    assert table["length_mean"] == pytest.approx(np.mean(lengths))
    shares = [table[f"{name}_share"] for name in ("replaced_by_mask", "replaced_by_random", "unchanged")]
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=4 * math.sqrt(0.16 / predictions))


def test_unigram_entropy_is_that_of_the_token_counts(prepared: Path) -> None:
    counts: dict[int, int] = {}
    for entry in Manifest.load(prepared).splits["train"]:
        for token in read_shard(prepared, entry).tokens.tolist():
            counts[token] = counts.get(token, 0) + 1
    total = sum(counts.values())
    expected = -sum(count / total * math.log(count / total) for count in counts.values())
    assert unigram_entropy(prepared, "train") == pytest.approx(expected)


def test_counts_of_a_part_of_the_tokens_are_those_of_whole_shards_from_all_over_the_split(prepared: Path) -> None:
    entries = Manifest.load(prepared).splits["train"]
    total = sum(entry.tokens for entry in entries)
    every = token_counts(prepared, "train")
    assert every.sum() == total
    assert np.array_equal(token_counts(prepared, "train", max_tokens=total), every)
    for share in (1.01, 2, 3):
        some = token_counts(prepared, "train", max_tokens=int(total / share)).sum()
        assert 0 < some <= total / share
