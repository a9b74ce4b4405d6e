"""Packing: exact layout, exact boundaries, little filler, balanced micro-batches, few shapes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.masking.masking import TokenMasking
from data_pipeline.streams.collate import assign
from data_pipeline.streams.packed_shape import PackedShape
from tests.support.packed import CLS, PAD, SEP, SIZES, VOCABULARY, make_examples, pack_one


def test_layout_is_cls_a_sep_b_sep_with_segments_and_positions() -> None:
    examples = make_examples(SIZES)
    shape = PackedShape(8, 32)
    batch = pack_one(examples, shape, TokenMasking(), VOCABULARY, 100)
    ids = batch.tokens.input_ids.clone()
    mlm = batch.targets["mlm"]
    ids[mlm.positions[: mlm.count].long()] = mlm.labels[: mlm.count]
    tokens = examples.windows[0].tokens.tolist()
    ends = batch.tokens.cu_seqlens.tolist()
    for row, (size_a, size_b) in enumerate(SIZES):
        (a, b), begin, end = examples.spans.start[row].tolist(), ends[row], ends[row + 1]
        expected = [CLS]
        for start, size in ((a, size_a), (b, size_b)):
            expected += [*tokens[start : start + size], SEP] if size else []
        assert ids[begin:end].tolist() == expected
        types = [0] * (1 + size_a + (size_a > 0)) + [1] * (size_b + (size_b > 0))
        assert batch.tokens.token_type_ids[begin:end].tolist() == types
        assert batch.tokens.position_ids[begin:end].tolist() == list(range(end - begin))
        assert batch.targets["nsp"].positions[row] == begin
    assert batch.targets["nsp"].labels.tolist() == [0, 1, 0, 1, 0, 1, -100, -100]
    assert batch.sample_ids.tolist() == [0, 1, 2, 3, 4, 5, -1, -1]


def test_filler_is_marked_everywhere_and_lies_in_sequences_of_its_own() -> None:
    shape = PackedShape(8, 32)
    batch = pack_one(make_examples(SIZES), shape, TokenMasking(), VOCABULARY, 100)
    assert batch.num_tokens == sum(a + b + (a > 0) + (b > 0) + 1 for a, b in SIZES)
    assert len(batch.tokens.input_ids) % shape.token_multiple == 0
    assert (batch.tokens.input_ids[batch.num_tokens :] == PAD).all()
    assert (batch.targets["mlm"].labels[batch.targets["mlm"].count :] == -100).all()
    lengths = np.diff(batch.tokens.cu_seqlens.numpy())
    assert len(lengths) == shape.num_sequences
    assert lengths.max() <= 32
    assert batch.tokens.cu_seqlens[-1] == len(batch.tokens.input_ids)
    assert batch.tokens.cu_seqlens[len(SIZES)] == batch.num_tokens
    assert batch.tokens.position_ids.max() < 32


def test_ids_above_the_range_of_signed_16_bits_keep_their_value() -> None:
    """Shards hold uint16; -100 in it would become 65,436, and a view as int16 would turn ids negative."""
    examples = make_examples(SIZES)
    examples.windows[0].tokens[:] = np.arange(2000) + 63_000
    vocabulary = replace(VOCABULARY, size=65_536, is_continuation=np.zeros(65_536, dtype=bool))
    batch = pack_one(examples, PackedShape(8, 32), TokenMasking(), vocabulary, 100)
    assert (batch.targets["mlm"].labels[: batch.targets["mlm"].count] >= 63_000).all()
    assert (batch.targets["mlm"].labels[batch.targets["mlm"].count :] == -100).all()
    assert batch.tokens.input_ids.min() >= 0


def test_a_batch_of_filler_alone_is_possible() -> None:
    batch = pack_one(make_examples([]), PackedShape(4, 32), TokenMasking(), VOCABULARY, 0)
    assert batch.num_examples == batch.targets["mlm"].count == batch.num_tokens == batch.targets["nsp"].count == 0
    assert (batch.targets["nsp"].labels == -100).all()
    assert len(batch.tokens.input_ids) > max(batch.targets["nsp"].positions.max(), batch.targets["mlm"].positions.max())


def test_segments_without_a_pair_label_are_counted_apart() -> None:
    examples = make_examples([(5, 0), (6, 0), (7, 8)])
    examples.spans.labels[:2] = -100
    batch = pack_one(examples, PackedShape(4, 32), TokenMasking(), VOCABULARY, 100)
    assert (batch.num_examples, batch.targets["nsp"].count) == (3, 1)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 10))
def test_micro_batches_are_a_partition_of_equal_sizes_and_nearly_equal_sums(count: int, size: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(5, 512, size=count * size)
    assigned = assign(lengths, count)
    assert sorted(np.concatenate(assigned).tolist()) == list(range(count * size))
    assert {len(rows) for rows in assigned} == {size}
    sums = [lengths[rows].sum() for rows in assigned]
    assert max(sums) - min(sums) <= lengths.max() - lengths.min()


def test_examples_are_assigned_back_and_forth() -> None:
    """Eight of 1 to 8 tokens make two micro-batches of 18; one after the other would make 20 and 16."""
    assigned = assign(np.array([8, 7, 6, 5, 4, 3, 2, 1]), 2)
    assert [rows.tolist() for rows in assigned] == [[0, 3, 4, 7], [1, 2, 5, 6]]


@pytest.mark.parametrize(("num_examples", "seq_len"), [(32, 128), (16, 512), (8, 512), (64, 128), (128, 512)])
def test_less_than_two_percent_is_filler_and_shapes_are_few(num_examples: int, seq_len: int) -> None:
    """On lengths like those of Wikipedia's articles at 512, where half of a padded batch would be padding."""
    numbers = np.random.default_rng(0)
    shape = PackedShape(num_examples, seq_len)
    total = np.array([numbers.integers(seq_len // 8, seq_len + 1, size=num_examples).sum() for _ in range(400)])
    computed = -(-total // shape.token_multiple) * shape.token_multiple
    assert computed.sum() / total.sum() < 1.02
    assert len(set(computed.tolist())) <= 64
