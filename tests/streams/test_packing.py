"""The container: one buffer there and back, and digests that name examples wherever they are."""

from dataclasses import replace

import torch

from data_pipeline.masking.masking import TokenMasking
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.packing import PackedBatch, batch_digest, example_digests, pack_buffer, unpack_buffers
from tests.streams.test_collate import SIZES, VOCABULARY, make_examples, pack_one

TENSORS = [name for name in PackedBatch.__slots__ if name.endswith(("ids", "seqlens", "positions", "labels"))]


def make_batch(rows: list[int] | None = None) -> PackedBatch:
    examples = make_examples(SIZES)
    if rows is not None:
        examples = examples.take(torch.tensor(rows).numpy())
    return pack_one(examples, PackedShape(8, 32), TokenMasking(), VOCABULARY, 100)


def assert_equal(first: PackedBatch, second: PackedBatch) -> None:
    assert len(TENSORS) == 9
    for name in TENSORS:
        assert torch.equal(getattr(first, name), getattr(second, name))
    for name in ("num_tokens", "num_predictions", "num_pairs", "num_labelled_pairs", "max_seqlen"):
        assert getattr(first, name) == getattr(second, name)


def test_a_batch_survives_its_buffer_and_tensors_are_views() -> None:
    batch = make_batch()
    buffer = pack_buffer(batch)
    assert buffer.dtype == torch.int32
    assert buffer.dim() == 1
    restored = unpack_buffers(buffer)[0]
    assert_equal(batch, restored)
    buffer.fill_(7)
    assert (restored.input_ids == 7).all()


def test_moving_copies_every_tensor_with_or_without_a_buffer() -> None:
    batch = make_batch()
    assert_equal(batch, batch.to("cpu"))
    assert_equal(batch, replace(batch, buffer=None).to("cpu"))


def test_digests_name_an_example_whatever_batch_it_is_in() -> None:
    together = example_digests(make_batch())
    apart = example_digests(make_batch([0, 3, 5])) | example_digests(make_batch([4, 1, 2]))
    assert together == apart
    assert len(set(together.values())) == len(SIZES)
    assert batch_digest([make_batch()]) == batch_digest([make_batch([5, 4]), make_batch([0, 1, 2, 3])])


def test_a_digest_sees_every_part_of_an_example() -> None:
    batch = make_batch()
    before = example_digests(batch)
    for name in ("input_ids", "token_type_ids", "mlm_labels", "nsp_labels"):
        changed = getattr(batch, name).clone()
        changed[0] += 1
        assert example_digests(replace(batch, **{name: changed}))[0] != before[0]
