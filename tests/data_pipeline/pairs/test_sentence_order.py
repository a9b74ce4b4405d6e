"""Segments in order or swapped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Spans
from data_pipeline.pairs.sentence_order import SentenceOrder
from tests.data_pipeline.pairs.lengths import document_of, make_lengths, random_documents


def planned(documents: list[list[int]], seq_len: int, **changes: float) -> tuple[Layout, Chunks, Spans]:
    pairs, lengths = SentenceOrder(**changes), make_lengths(documents)
    chunks = pairs.plan(lengths, seq_len, rng.fold(0)[()])
    return lengths, chunks, pairs.spans(chunks, lengths, seq_len, rng.fold(0, np.arange(len(chunks))))


@settings(max_examples=60, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=30), min_size=1, max_size=8),
    seq_len=st.integers(8, 100),
)
def test_every_sentence_of_a_document_of_several_is_in_one_chunk_of_several(
    documents: list[list[int]], seq_len: int
) -> None:
    lengths, chunks, spans = planned(documents, seq_len)
    covered = np.zeros(len(lengths.sentence_offsets) - 1, dtype=int)
    for first, last in zip(chunks.first, chunks.last, strict=True):
        covered[first:last] += 1
    expected = [1 if len(document) > 1 else 0 for document in documents for _ in document]
    assert covered.tolist() == expected
    assert (chunks.split > chunks.first).all()
    assert (chunks.last > chunks.split).all()
    assert (spans.lengths <= seq_len).all()
    assert (spans.stop > spans.start).all()


def test_the_label_says_which_segment_comes_first_in_the_document() -> None:
    lengths, _, spans = planned(random_documents(400), 128)
    documents = document_of(lengths, spans.start)
    assert (documents[:, 0] == documents[:, 1]).all()
    swapped = spans.labels == 1
    assert (spans.stop[~swapped, 0] <= spans.start[~swapped, 1]).all()
    assert (spans.stop[swapped, 1] <= spans.start[swapped, 0]).all()
    whole = spans.lengths < 128
    assert (spans.stop[whole & ~swapped, 0] == spans.start[whole & ~swapped, 1]).all()
    assert (spans.stop[whole & swapped, 1] == spans.start[whole & swapped, 0]).all()


def test_half_of_the_chunks_are_swapped_and_the_first_segment_has_token_type_0() -> None:
    _, chunks, spans = planned(random_documents(4000), 64)
    assert abs(chunks.is_changed.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(chunks))
    assert (spans.token_types == [0, 1]).all()
    _, chunks, _ = planned(random_documents(50), 64, swap_prob=0.0)
    assert not chunks.is_changed.any()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"swap_prob.*2"):
        SentenceOrder(swap_prob=2)
