"""Few shapes: every batch fits, nothing of it changes, little is filler, and each shape is compiled once."""

import doctest
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.utils import counters

from bert_lightning.execution.compilation import FIXED_SHAPES, Compilation
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.masking.masking import Masking, TokenMasking
from data_pipeline.masking.word_masking import SpanMasking, WholeWordMasking
from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.pairs.sentence_order import SentenceOrder
from data_pipeline.pairs.sentence_pair import SentencePairs
from data_pipeline.pairs.sentence_runs import FullSentences
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.streams import packed_shape
from data_pipeline.streams.collate import assign
from data_pipeline.streams.packed_batch import PackedBatch, batch_digest
from data_pipeline.streams.packed_shape import FewShapes, few_shapes
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream import PretrainingStream
from tests.support.parity import losses

MASKINGS = [TokenMasking(), WholeWordMasking(), SpanMasking(mask_prob=0.5), TokenMasking(0.5, max_predictions=3)]


def stream(
    prepared: Path, cache: Path, num_shapes: int | None, masking: Masking | None = None
) -> Iterator[list[PackedBatch]]:
    samples = PretrainingSamples(prepared, "train", SegmentPairs(short_seq_prob=0.5), masking or TokenMasking(), 64, 0)
    return iter(PretrainingStream(samples, 16, 8, 10**6, num_shapes=num_shapes))


def sizes(batch: PackedBatch) -> tuple[int, int]:
    return len(batch.tokens.input_ids), len(batch.targets["mlm"].positions)


def test_examples() -> None:
    assert doctest.testmod(packed_shape).failed == 0


@pytest.mark.parametrize("masking", MASKINGS)
def test_examples_stay_and_sizes_are_few(prepared: Path, tmp_path: Path, masking: Masking) -> None:
    few, fine = (list(islice(stream(prepared, tmp_path, number, masking), 60)) for number in (FIXED_SHAPES, None))
    for batches, expected in zip(few, fine, strict=True):
        assert batch_digest(batches) == batch_digest(expected)
    assert len({sizes(batch) for step in few for batch in step}) <= FIXED_SHAPES
    assert len({len(batch.tokens.cu_seqlens) for step in few for batch in step}) == 1
    for batch in (batch for step in few for batch in step):
        assert batch.tokens.cu_seqlens[-1] == len(batch.tokens.input_ids)
        assert batch.tokens.cu_seqlens.diff().max() <= batch.tokens.max_seqlen


@settings(max_examples=200, deadline=None)
@given(
    num_examples=st.integers(1, 64),
    seq_len=st.sampled_from([8, 40, 128, 512]),
    usual=st.floats(0.02, 1),
    num_shapes=st.integers(2, 12),
    share=st.sampled_from([0.01, 0.15, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_every_batch_fits(
    num_examples: int, seq_len: int, usual: float, num_shapes: int, share: float, seed: int
) -> None:
    """Empty, full and any other batch, with as many predictions as masking makes at most."""
    numbers = np.random.default_rng(seed)
    deviation = numbers.uniform(0, seq_len)
    shape = FewShapes(
        num_examples, seq_len, max(3, round(usual * seq_len)), num_shapes, share, length_deviation=deviation
    )
    for least in (3, seq_len):
        lengths = numbers.integers(least, seq_len + 1, size=num_examples)
        predictions = np.maximum(np.rint(lengths * share), 1).sum()
        tokens, room = shape.sizes(int(lengths.sum()), int(predictions))
        assert tokens >= lengths.sum()
        assert room >= predictions
        assert tokens % shape.token_multiple == 0
        assert shape.num_sequences >= num_examples + (tokens - lengths.sum()) / seq_len
    assert shape.sizes(0, 0) == shape.levels[0]
    assert len(shape.levels) <= num_shapes
    assert shape.levels == sorted(shape.levels)


@pytest.mark.parametrize(("num_examples", "most_filler"), [(8, 0.1), (32, 0.05), (128, 0.05)])
@pytest.mark.parametrize("seq_len", [128, 512])
def test_filler_is_little_on_lengths_like_those_of_real_text(
    num_examples: int, most_filler: float, seq_len: int
) -> None:
    """A quarter of the examples is full, the others are spread evenly, the mean is half of seq_len."""
    numbers = np.random.default_rng(0)
    longest = 2 * (0.5 - 0.25) / 0.75 * seq_len - 8
    is_full = numbers.random((200, 128)) < 0.25
    steps = np.where(is_full, seq_len, numbers.uniform(8, longest, size=(200, 128))).astype(np.int64)
    shape = few_shapes(num_examples, seq_len, steps, TokenMasking(), FIXED_SHAPES)
    real, computed = 0, 0
    for lengths in steps:
        for rows in assign(lengths, 128 // num_examples):
            real += int(lengths[rows].sum())
            computed += shape.sizes(int(lengths[rows].sum()), round(0.15 * lengths[rows].sum()))[0]
    assert computed / real - 1 < most_filler


@pytest.mark.parametrize("seq_len", [32, 128])
@pytest.mark.parametrize("pairs", [SegmentPairs(), SentencePairs(), SentenceOrder(), FullSentences()])
def test_filler_is_little_in_streams_of_every_format(prepared: Path, pairs: PairFormat, seq_len: int) -> None:
    """Sentences that are put back and random segments count twice, so examples have more tokens than the corpus."""
    samples = PretrainingSamples(prepared, "train", pairs, TokenMasking(), seq_len, 0)
    steps = PretrainingStream(samples, 64, 32, 10, num_shapes=FIXED_SHAPES).steps(10)
    batches = [batch for step in steps for batch in step]
    real, computed = sum(batch.num_tokens for batch in batches), sum(len(batch.tokens.input_ids) for batch in batches)
    assert 1 - real / computed < 0.05


@pytest.mark.parametrize("num_batches", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_batches_compile_as_many_graphs_as_there_are_shapes(prepared: Path, tmp_path: Path, num_batches: int) -> None:
    config = EncoderConfig(Manifest.load(prepared).vocab_size, 8, 1, 1, 8, max_position_embeddings=64)
    model = MaskedLMWithNSP(config)
    torch._dynamo.reset()
    counters.clear()
    Compilation("model", dynamic=False, on_cpu=True, backend="aot_eager")(model, "cpu")
    seen, exact = set(), set()
    for step in islice(stream(prepared, tmp_path, FIXED_SHAPES), num_batches // 2):
        for batch in step:
            loss = torch.stack(list(losses(model, batch).values())).sum()
            if sizes(batch) not in seen:
                loss.backward()
            seen.add(sizes(batch))
            exact.add((batch.num_tokens, batch.targets["mlm"].count))
    assert counters["stats"]["unique_graphs"] == len(seen)
    assert 4 <= len(seen) <= FIXED_SHAPES
    assert len(exact) > 64
    torch._dynamo.reset()


def test_a_masking_without_a_bound_is_refused_by_name(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"compile\.dynamic=false needs masking\.exact_count=true"):
        stream(prepared, tmp_path, FIXED_SHAPES, TokenMasking(exact_count=False))


def test_a_masking_that_breaks_its_bound_is_named() -> None:
    with pytest.raises(ValueError, match=r"64 tokens has 60 predictions, more than the fixed shapes .* of 0\.15"):
        FewShapes(1, 64, 64, 4, length_deviation=20.0).sizes(64, 60)
