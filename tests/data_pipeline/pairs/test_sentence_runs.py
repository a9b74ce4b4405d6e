"""Full sentences one after another, against a loop that adds them one by one."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Spans
from data_pipeline.pairs.sentence_runs import DocSentences, FullSentences
from tests.data_pipeline.pairs.lengths import document_of, make_lengths, random_documents

DOCUMENTS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=20), min_size=1, max_size=8)


def planned(
    documents: list[list[int]], seq_len: int, form: type[FullSentences] = FullSentences, seed: int = 0
) -> tuple[Layout, Chunks, Spans]:
    pairs, lengths = form(), make_lengths(documents)
    chunks = pairs.plan(lengths, seq_len, rng.fold(0)[()])
    return lengths, chunks, pairs.spans(chunks, lengths, seq_len, rng.fold(seed, np.arange(len(chunks))))


def reference_runs(documents: list[list[int]], seq_len: int, crosses_documents: bool) -> list[int]:
    """Return the sentence after the last of every run: sentences are added while the example still fits."""
    owner = [number for number, document in enumerate(documents) for _ in document]
    sizes = [size for document in documents for size in document]
    ends, used, first = [], 0, 0
    for sentence, size in enumerate(sizes):
        run = sizes[first:sentence]
        separators = len(set(owner[first : sentence + 1]))
        fits = 1 + sum(run) + size + separators <= seq_len
        stays = crosses_documents or not run or owner[sentence - 1] == owner[sentence]
        if run and not (fits and stays):
            ends.append(sentence)
            first = sentence
        used += size
    return [*ends, len(sizes)]


@settings(max_examples=100, deadline=None)
@given(documents=DOCUMENTS, seq_len=st.integers(8, 100), crosses=st.booleans())
def test_a_run_takes_every_sentence_that_still_fits(documents: list[list[int]], seq_len: int, crosses: bool) -> None:
    _, chunks, spans = planned(documents, seq_len, FullSentences if crosses else DocSentences)
    assert chunks.last.tolist() == reference_runs(documents, seq_len, crosses)
    assert chunks.first.tolist() == [0, *chunks.last.tolist()[:-1]]
    assert (spans.lengths <= seq_len).all()
    assert (spans.labels == -100).all()


@pytest.mark.parametrize("form", [FullSentences, DocSentences])
def test_each_segment_is_the_part_of_one_document_and_together_they_are_the_corpus(form: type[FullSentences]) -> None:
    lengths, _, spans = planned(random_documents(200, longest=30), 64, form)
    covered = np.zeros(int(lengths.sentence_offsets[-1]), dtype=int)
    for start, stop in zip(spans.start, spans.stop, strict=True):
        parts = [(a, b) for a, b in zip(start, stop, strict=True) if b > a]
        assert (stop > start).tolist() == [True] * len(parts) + [False] * (len(start) - len(parts))
        documents = [document_of(lengths, np.array([a, b - 1])).tolist() for a, b in parts]
        assert all(first == last for first, last in documents)
        assert all(a[0] + 1 == b[0] for a, b in pairwise(documents))
        assert all(before[1] == after[0] for before, after in pairwise(parts))
        for a, b in parts:
            covered[a:b] += 1
    assert (covered == 1).all()
    assert (spans.token_types == 0).all()
    assert spans.start.shape[1] == (1 if form is DocSentences else max((spans.stop > spans.start).sum(axis=1)))


def test_full_sentences_fill_examples_better_than_those_of_one_document() -> None:
    documents = random_documents(300, longest=30)
    (_, _, full), (_, _, single) = planned(documents, 128), planned(documents, 128, DocSentences)
    assert full.lengths[:-1].min() > 128 - 30 - 2
    assert len(single.labels) > len(full.labels)


def test_a_sentence_too_long_stands_alone_and_any_stretch_of_it_is_read() -> None:
    documents = [[5, 1000, 5]]
    starts = []
    for seed in range(300):
        lengths, chunks, spans = planned(documents, 102, seed=seed)
        assert chunks.first.tolist() == [0, 1, 2]
        assert spans.lengths.tolist() == [7, 102, 7]
        starts.append(int(spans.start[1, 0]))
        assert starts[-1] >= 5
        assert spans.stop[1, 0] <= lengths.sentence_offsets[2]
    assert min(starts) < 60 < 800 < max(starts)
