"""Blocks of an exact length against a loop that writes the text down and cuts it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import rng
from data_pipeline.pairs.chunks import Chunks, Layout, Spans
from data_pipeline.pairs.token_blocks import TokenBlocks
from tests.data_pipeline.pairs.lengths import make_lengths, random_documents

DOCUMENTS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), min_size=1, max_size=8)
SEP = -1
KEY = rng.fold(0)[()]


def written_down(lengths: Layout, spans: Spans) -> list[list[int]]:
    """The tokens of every block after its [CLS], as collating lays them out."""
    blocks: list[list[int]] = []
    for starts, stops, separators in zip(spans.start, spans.stop, spans.has_separator, strict=True):
        blocks.append([])
        for start, stop, separator in zip(starts, stops, separators, strict=True):
            blocks[-1] += [*range(start, stop), *([SEP] if separator else [])]
    return blocks


def text_of(documents: list[list[int]]) -> list[int]:
    """All tokens, numbered, with a [SEP] after each document."""
    text, number = [], 0
    for document in documents:
        text += [*range(number, number + sum(document)), SEP]
        number += sum(document)
    return text


def blocks_of(shards: list[list[list[int]]], seq_len: int) -> tuple[Layout, Chunks, Spans]:
    """Plan each shard by itself, and find the blocks in a window that holds all of them."""
    form = TokenBlocks()
    plans = [form.plan(make_lengths(shard), seq_len, KEY) for shard in shards]
    before = np.cumsum([0, *(sum(map(len, shard)) for shard in shards[:-1])])
    chunks = Chunks.join(plans, before)
    lengths = make_lengths([document for shard in shards for document in shard])
    return lengths, chunks, form.spans(chunks, lengths, seq_len, rng.fold(0, np.arange(len(chunks))))


@settings(max_examples=150, deadline=None)
@given(shards=st.lists(DOCUMENTS, min_size=1, max_size=3), seq_len=st.integers(8, 100))
def test_blocks_are_the_text_of_each_shard_cut_at_an_exact_length(shards: list[list[list[int]]], seq_len: int) -> None:
    lengths, _, spans = blocks_of(shards, seq_len)
    expected, number = [], 0
    for shard in shards:
        text = [token if token == SEP else token + number for token in text_of(shard)]
        cut = [text[begin : begin + seq_len - 1] for begin in range(0, len(text), seq_len - 1)]
        expected += cut[:-1] if cut[-1] == [SEP] else cut
        number += sum(map(sum, shard))
    assert written_down(lengths, spans) == expected
    assert spans.lengths.tolist() == [len(block) + 1 for block in expected]
    assert (spans.labels == -100).all()
    assert (spans.token_types == 0).all()


def test_every_block_but_the_last_one_of_a_shard_is_full() -> None:
    """A text of 101 tokens gives blocks of 10; the last of them ends before the [SEP], which makes no block alone."""
    _, _, spans = blocks_of([[[30, 60], [10]], [[100]]], 11)
    assert spans.lengths.tolist() == [11] * 10 + [3] + [11] * 10


def test_a_block_may_begin_with_the_separator_of_the_document_before() -> None:
    lengths, chunks, spans = blocks_of([[[4, 6], [7]]], 11)
    assert written_down(lengths, spans) == [list(range(10)), [SEP, *range(10, 17), SEP]]
    assert chunks.skipped is not None
    assert (chunks.first.tolist(), chunks.skipped.tolist()) == ([0, 1], [0, 6])


def test_some_of_the_blocks_in_another_order_are_the_same() -> None:
    """A window gives the blocks of a step, wherever they are in their shards."""
    documents = random_documents(40)
    lengths, chunks, spans = blocks_of([documents[:20], documents[20:]], 64)
    rows = np.random.default_rng(0).permutation(len(chunks))[:17]
    some = TokenBlocks().spans(chunks.take(rows), lengths, 64, rng.fold(1, rows))
    whole = written_down(lengths, spans)
    assert written_down(lengths, some) == [whole[row] for row in rows]
    assert written_down(lengths, spans[rows]) == [whole[row] for row in rows]
