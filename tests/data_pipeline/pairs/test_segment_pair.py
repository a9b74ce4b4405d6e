"""Segment pairs against a plain transcription of google-research/bert's rules, and their statistics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Spans
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.pairs.segments import target_lengths, truncate
from data_pipeline.rng import Purpose
from tests.data_pipeline.pairs.lengths import document_of, make_lengths, random_documents


def reference_chunks(documents: list[list[int]], targets: list[int], key: np.uint64, probability: float) -> list[tuple]:
    """The loop of create_instances_from_document, sentence by sentence, with the plan's own draws."""
    chunks, base = [], 0
    for document, target in zip(documents, targets, strict=True):
        has_other = any(other != document for other in documents)
        current: list[int] = []
        i = 0
        while i < len(document):
            current.append(i)
            if i == len(document) - 1 or sum(document[j] for j in current) >= target:
                at = base + current[0]
                split = 1
                if len(current) >= 2:
                    draw = rng.uniform(rng.fold(key, Purpose.SEGMENT_SPLIT), at)
                    split = 1 + int(draw * (len(current) - 1))
                coin = rng.uniform(rng.fold(key, Purpose.RANDOM_NEXT), at) < probability
                is_changed = has_other and (len(current) == 1 or bool(coin))
                if is_changed or len(current) > 1:
                    chunks.append((at, at + split, at + len(current), target, is_changed))
                if is_changed:
                    i -= len(current) - split
                current = []
            i += 1
        base += len(document)
    return chunks


@settings(max_examples=80, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=30), min_size=2, max_size=8),
    seq_len=st.integers(8, 100),
    seed=st.integers(0, 5),
)
def test_plan_is_the_loop_of_the_original(documents: list[list[int]], seq_len: int, seed: int) -> None:
    pairs, lengths, key = SegmentPairs(), make_lengths(documents), rng.fold(seed)[()]
    chunks = pairs.plan(lengths, seq_len, key)
    targets = target_lengths(len(documents), seq_len, 0.1, key).tolist()
    planned = list(
        zip(
            chunks.first.tolist(),
            chunks.split.tolist(),
            chunks.last.tolist(),
            chunks.target.tolist(),
            chunks.is_changed.tolist(),
            strict=True,
        )
    )
    assert planned == reference_chunks(documents, targets, key, 0.5)


def spans_of(documents: list[list[int]], seq_len: int, seed: int = 0, **kwargs: float) -> tuple[Layout, Chunks, Spans]:
    pairs, lengths = SegmentPairs(**kwargs), make_lengths(documents)
    chunks = pairs.plan(lengths, seq_len, rng.fold(seed)[()])
    return lengths, chunks, pairs.spans(chunks, lengths, seq_len, rng.fold(seed, np.arange(len(chunks))))


@pytest.mark.parametrize("seq_len", [8, 32, 128, 512])
def test_pairs_fit_lie_within_documents_and_are_labelled_by_where_b_comes_from(seq_len: int) -> None:
    lengths, _chunks, spans = spans_of(random_documents(300), seq_len)
    sizes = spans.stop - spans.start
    assert sizes.min() >= 1
    assert spans.lengths.max() <= seq_len
    first, last = document_of(lengths, spans.start), document_of(lengths, spans.stop - 1)
    assert (first == last).all()
    assert ((first[:, 0] != first[:, 1]) == (spans.labels == 1)).all()
    true_next = spans.labels == 0
    gap = spans.start[true_next, 1] - spans.stop[true_next, 0]
    assert gap.min() >= 0
    untouched = spans.lengths[true_next] < seq_len
    assert (gap[untouched] == 0).all()


def test_half_of_the_chunks_of_several_sentences_get_a_random_segment_and_single_ones_always() -> None:
    _lengths, chunks, _spans = spans_of(random_documents(4000), 128)
    count = chunks.last - chunks.first
    several = count > 1
    assert chunks.is_changed[~several].all()
    share, number = chunks.is_changed[several].mean(), several.sum()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(number)


def test_every_sentence_is_in_the_first_part_of_a_chunk_or_in_its_true_continuation() -> None:
    documents = random_documents(200)
    lengths, chunks, _ = spans_of(documents, 64)
    covered = np.zeros(len(lengths.sentence_offsets) - 1, dtype=int)
    for first, split, last, is_changed in zip(chunks.first, chunks.split, chunks.last, chunks.is_changed, strict=True):
        covered[first : split if is_changed else last] += 1
    assert (covered == 1).all()


def test_a_tenth_of_the_documents_aims_at_a_uniform_shorter_length() -> None:
    targets = target_lengths(50_000, 128, 0.1, rng.fold(0)[()])
    short = targets[targets < 125]
    assert abs(len(short) / 50_000 - 0.1 * 123 / 124) < 4 * np.sqrt(0.1 * 0.9 / 50_000)
    assert short.min() == 2
    assert abs(short.mean() - (2 + 124) / 2) < 4 * 35.5 / np.sqrt(len(short))


def test_random_segments_are_uniform_over_the_other_documents_and_reach_the_wanted_length() -> None:
    documents = [[5] * 9 + [5 + number] for number in range(6)]
    lengths = make_lengths(documents)
    pairs = SegmentPairs(random_next_prob=1.0, short_seq_prob=0.0)
    chunks = Chunks(*(np.full(30_000, v) for v in (20, 21, 24, 23)), np.ones(30_000, dtype=bool))
    spans = pairs.spans(chunks, lengths, 26, rng.fold(1, np.arange(30_000)))
    other = document_of(lengths, spans.start[:, 1])
    counts = np.bincount(other, minlength=6)
    assert counts[2] == 0
    assert np.abs(np.delete(counts, 2) - 6000).max() < 4 * np.sqrt(6000 * 0.8)
    size = spans.stop[:, 1] - spans.start[:, 1]
    to_end = lengths.sentence_offsets[lengths.document_offsets[other + 1]] - spans.start[:, 1]
    assert (size >= np.minimum(18, to_end)).all()


def truncated_by_loop(size_a: int, size_b: int, longest: int) -> tuple[int, int]:
    while size_a + size_b > longest:
        if size_a > size_b:
            size_a -= 1
        else:
            size_b -= 1
    return size_a, size_b


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(2, 300))
def test_truncation_leaves_what_the_loop_leaves(size_a: int, size_b: int, longest: int) -> None:
    start, stop = np.array([[10, 1000]]), np.array([[10 + size_a, 1000 + size_b]])
    truncate(start, stop, longest, rng.fold(0, np.arange(1)))
    sizes = tuple((stop - start)[0].tolist())
    assert sizes == truncated_by_loop(size_a, size_b, longest)
    assert start[0, 0] >= 10
    assert stop[0, 0] <= 10 + size_a
    if size_a + size_b <= longest:
        assert start.tolist() == [[10, 1000]]


def test_truncation_takes_from_both_ends_alike() -> None:
    number = 20_000
    start, stop = np.tile([[0, 500]], (number, 1)), np.tile([[60, 600]], (number, 1))
    truncate(start, stop, 100, rng.fold(2, np.arange(number)))
    assert abs(start[:, 0].mean() - 5) < 4 * np.sqrt(10 / 4 / number)
    assert abs((start[:, 1] - 500).mean() - 25) < 4 * np.sqrt(50 / 4 / number)
    assert abs(np.corrcoef(start[:, 0], start[:, 1])[0, 1]) < 4 / np.sqrt(number)


@pytest.mark.parametrize(
    "documents",
    [
        [[1] * 500, [1] * 3],
        [[5000], [1]],
        [[1], [2]],
        [[3000, 1, 1, 1], [1, 4000]],
    ],
)
def test_extreme_documents_end_and_fit(documents: list[list[int]]) -> None:
    _, chunks, spans = spans_of(documents, 16)
    assert len(chunks)
    assert spans.lengths.max() <= 16
    assert (spans.stop > spans.start).all()


def test_a_lone_document_gives_true_pairs_only() -> None:
    _, chunks, spans = spans_of([[4, 4, 4, 50, 4]], 32)
    assert len(chunks)
    assert (spans.labels == 0).all()
    assert (chunks.last - chunks.first > 1).all()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"short_seq_prob.*1\.5"):
        SegmentPairs(short_seq_prob=1.5)
    with pytest.raises(ValueError, match=r"dupe_factor.*0"):
        SegmentPairs(dupe_factor=0)
