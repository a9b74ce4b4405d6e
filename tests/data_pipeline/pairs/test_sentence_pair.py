"""Pairs of single sentences."""

import numpy as np
import pytest

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Spans
from data_pipeline.pairs.sentence_pair import SentencePairs
from tests.data_pipeline.pairs.lengths import document_of, make_lengths, random_documents


def planned(documents: list[list[int]], seq_len: int = 256, **settings: float) -> tuple[Layout, Chunks, Spans]:
    pairs, lengths = SentencePairs(**settings), make_lengths(documents)
    chunks = pairs.plan(lengths, seq_len, rng.fold(0)[()])
    return lengths, chunks, pairs.spans(chunks, lengths, seq_len, rng.fold(0, np.arange(len(chunks))))


def test_both_segments_are_whole_sentences_and_labels_say_where_the_second_is_from() -> None:
    lengths, chunks, spans = planned(random_documents(300))
    sentences = lengths.sentence_offsets
    assert np.isin(spans.start, sentences).all()
    assert (sentences[np.searchsorted(sentences, spans.start) + 1] == spans.stop).all()
    is_next = spans.start[:, 1] == spans.stop[:, 0]
    documents = document_of(lengths, spans.start)
    assert (is_next & (documents[:, 0] == documents[:, 1]))[spans.labels == 0].all()
    assert (documents[:, 0] != documents[:, 1])[spans.labels == 1].all()
    assert len(spans.labels) == len(chunks)


def test_every_sentence_is_a_first_one_or_the_true_next_of_one() -> None:
    lengths, chunks, _ = planned(random_documents(200))
    covered = np.zeros(len(lengths.sentence_offsets) - 1, dtype=int)
    for first, last, is_random in zip(chunks.first, chunks.last, chunks.is_changed, strict=True):
        covered[first : first + 1 if is_random else last] += 1
    assert (covered == 1).all()


def test_half_of_the_sentences_with_a_next_one_get_a_random_one_and_last_ones_always() -> None:
    _, chunks, _ = planned(random_documents(3000))
    has_next = chunks.last - chunks.first == 2
    assert chunks.is_changed[~has_next].all()
    share, number = chunks.is_changed[has_next].mean(), has_next.sum()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(number)


def test_long_sentences_are_truncated_and_a_lone_document_has_true_pairs_only() -> None:
    _, _, spans = planned([[300, 5, 400], [2, 900]], seq_len=32)
    assert spans.lengths.max() <= 32
    assert (spans.stop > spans.start).all()
    _, chunks, spans = planned([[5, 5, 5]])
    assert (spans.labels == 0).all()
    assert chunks.last.tolist() == [2]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"random_next_prob.*-1"):
        SentencePairs(random_next_prob=-1)
    with pytest.raises(ValueError, match=r"dupe_factor.*0"):
        SentencePairs(dupe_factor=0)
