"""Copies of a text are found, and are never each other's random partner."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import rng
from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.pairs.sentence_pair import SentencePairs
from tests.data_pipeline.pairs.lengths import document_of, make_lengths, random_documents

DOCUMENTS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(0, 3))
def test_a_drawn_document_is_any_but_a_copy(documents: list[list[int]], seed: int) -> None:
    copies = make_lengths(documents).copies
    for own, document in enumerate(documents):
        others = {number for number, other in enumerate(documents) if other != document}
        assert copies.has_other[own] == bool(others)
        if others:
            keys = rng.fold(seed, np.arange(60 * len(others)))
            assert set(copies.draw_other(np.full(len(keys), own), keys, 0).tolist()) == others


def test_others_are_drawn_alike() -> None:
    copies = make_lengths([[1], [2, 2], [1], [3], [1], [2, 2]]).copies
    drawn = copies.draw_other(np.zeros(30_000, dtype=np.int64), rng.fold(1, np.arange(30_000)), 0)
    counts = np.bincount(drawn, minlength=6)
    assert np.abs(counts[[1, 3, 5]] - 10_000).max() < 4 * np.sqrt(10_000 * 2 / 3)


@pytest.mark.parametrize("pairs", [SegmentPairs(), SentencePairs()])
def test_a_pair_labelled_random_is_never_of_one_text(pairs: PairFormat) -> None:
    """As where a source has a weight of 3: most documents of a window stand in it three times."""
    texts = random_documents(20)
    lengths = make_lengths(texts * 3)
    chunks = pairs.plan(lengths, 64, rng.fold(0)[()])
    spans = pairs.spans(chunks, lengths, 64, rng.fold(0, np.arange(len(chunks))))
    text = document_of(lengths, spans.start) % len(texts)
    assert 0.2 < spans.labels.mean() < 0.9
    assert ((text[:, 0] != text[:, 1]) == (spans.labels == 1)).all()


@pytest.mark.parametrize("pairs", [SegmentPairs(), SentencePairs()])
def test_nothing_is_random_beside_copies_alone(pairs: PairFormat) -> None:
    lengths = make_lengths([[5, 6, 7]] * 4)
    chunks = pairs.plan(lengths, 64, rng.fold(0)[()])
    assert len(chunks)
    assert not chunks.is_changed.any()


def test_documents_of_one_shape_are_copies_only_with_the_same_text() -> None:
    copies = make_lengths([[5, 5]] * 4, texts=[9, 2, 9, 3]).copies
    drawn = copies.draw_other(np.repeat([0, 1], 200), rng.fold(1, np.arange(400)), 0)
    assert copies.has_other.all()
    assert (set(drawn[:200].tolist()), set(drawn[200:].tolist())) == ({1, 3}, {0, 2, 3})
