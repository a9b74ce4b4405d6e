"""The pipeline on real articles and novels with the published vocabulary."""

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.corpora.books import Books
from data_pipeline.corpora.wikipedia_extracted import WikipediaExtracted
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.masking.word_masking import WholeWordMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.preparation.executors import LocalExecutor
from data_pipeline.preparation.preparation import Preparation
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream import PretrainingStream
from data_pipeline.streams.stream_statistics import StreamStatistics
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from tests.conftest import SHARED_DATA

pytestmark = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two megabytes of Wikipedia and two novels, prepared."""
    output = tmp_path_factory.mktemp("real") / "data"
    sources = [
        WikipediaExtracted("wikipedia", SHARED_DATA / "wikipedia" / "wiki_0[01]", "CC BY-SA 3.0", "test"),
        Books("books", SHARED_DATA / "books" / "Doyle*.txt", "public domain", "test"),
    ]
    tokenizer = load_tokenizer(SHARED_DATA / "bert-vocab.txt")
    preparation = Preparation(output, validation_fraction=0.1, shard_tokens=200_000)
    preparation.run(sources, lambda _: tokenizer, {}, LocalExecutor(1))
    return output


def samples_of(folder: Path, seq_len: int, whole_word: bool = False) -> PretrainingSamples:
    masking = WholeWordMasking() if whole_word else TokenMasking()
    return PretrainingSamples(folder, "train", SegmentPairs(), masking, seq_len, seed=0)


@pytest.mark.parametrize("seq_len", [128, 512])
@pytest.mark.parametrize("whole_word", [False, True])
def test_masks_and_fill_are_what_they_should_be(folder: Path, seq_len: int, whole_word: bool) -> None:
    samples = samples_of(folder, seq_len, whole_word)
    statistics = StreamStatistics(samples.vocabulary)
    stream = PretrainingStream(samples, 64, 16, 100)
    for batches in islice(stream, 20 if seq_len == 128 else 8):
        statistics.add(batches)
    table = statistics.table()
    predictions = table["tokens"] * table["predicted_share"]
    assert table["predicted_share"] == pytest.approx(0.15, abs=0.002 if not whole_word else 0.008)
    for name, share in (("replaced_by_mask", 0.8), ("replaced_by_random", 0.1), ("unchanged", 0.1)):
        sigma = math.sqrt(share * (1 - share) / predictions)
        assert table[f"{name}_share"] == pytest.approx(share, abs=4 * sigma + 1e-4)
    assert table["fill"] > 0.98
    assert table["length_longest"] <= seq_len


def test_half_of_the_chunks_of_several_sentences_are_random(folder: Path) -> None:
    samples = samples_of(folder, 128)
    several, random = 0, 0
    plan = samples.epoch_plan(0)
    for lane, windows in enumerate(plan.windows):
        for number in range(len(windows)):
            chunks = samples._window(0, lane, number).chunks
            count = chunks.last - chunks.first
            several += int((count > 1).sum())
            random += int(chunks.is_changed[count > 1].sum())
            assert chunks.is_changed[count == 1].all()
    assert several > 3000
    assert abs(random / several - 0.5) < 4 * 0.5 / math.sqrt(several)


def test_masks_change_from_one_epoch_to_the_next(folder: Path) -> None:
    samples = samples_of(folder, 128)
    size = samples.epoch_plan(0).size
    first = next(iter(PretrainingStream(samples, 64, 64, 10)))[0]
    stream = PretrainingStream(samples, 64, 64, 10)
    stream.consumed_samples = size
    second = next(iter(stream))[0]
    assert not np.array_equal(first.targets["mlm"].positions.numpy(), second.targets["mlm"].positions.numpy())
