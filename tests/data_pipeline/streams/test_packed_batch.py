"""The container: one buffer there and back, and digests that name examples wherever they are."""

from dataclasses import replace

import torch

from data_pipeline.masking.masking import TokenMasking
from data_pipeline.streams.collate import pack
from data_pipeline.streams.packed_batch import PackedBatch, batch_digest, example_digests, pack_buffer, unpack_buffers
from data_pipeline.streams.packed_shape import PackedShape
from tests.support.packed import SIZES, VOCABULARY, make_examples, pack_one


def make_batch(rows: list[int] | None = None) -> PackedBatch:
    examples = make_examples(SIZES)
    if rows is not None:
        examples = examples.take(torch.tensor(rows).numpy())
    return pack_one(examples, PackedShape(8, 32), TokenMasking(), VOCABULARY, 100)


def assert_equal(first: PackedBatch, second: PackedBatch) -> None:
    assert list(first.targets) == list(second.targets) == ["mlm", "nsp"]
    pairs = [(first.tokens, second.tokens), (first, second)]
    pairs += [(first.targets[name], second.targets[name]) for name in first.targets]
    compared = 0
    for ours, theirs in pairs:
        for name in ours.__slots__:
            value, other = getattr(ours, name), getattr(theirs, name)
            if name != "buffer" and isinstance(value, torch.Tensor):
                assert torch.equal(value, other), name
                compared += 1
            elif isinstance(value, int):
                assert value == other, name
                compared += 1
    assert compared == 9 + 7


def test_a_batch_survives_its_buffer_and_tensors_are_views() -> None:
    batch = make_batch()
    buffer = pack_buffer(batch)
    assert buffer.dtype == torch.int32
    assert buffer.dim() == 1
    restored = unpack_buffers(buffer, list(batch.targets))[0]
    assert_equal(batch, restored)
    buffer.fill_(7)
    assert (restored.tokens.input_ids == 7).all()


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
    before = example_digests(make_batch())
    for choose in (
        lambda batch: batch.tokens.input_ids,
        lambda batch: batch.tokens.token_type_ids,
        lambda batch: batch.targets["mlm"].labels,
        lambda batch: batch.targets["nsp"].labels,
    ):
        changed = make_batch()
        choose(changed)[0] += 1
        assert example_digests(changed)[0] != before[0]


def test_a_batch_has_no_pair_targets_if_its_format_has_none() -> None:
    examples = make_examples([(5, 0), (6, 0)])
    every = torch.arange(2).numpy()
    buffer = pack(examples, [every], PackedShape(4, 32), TokenMasking(), VOCABULARY, 100, ("mlm",))
    (batch,) = unpack_buffers(buffer, ("mlm",))
    assert list(batch.targets) == ["mlm"]
    assert list(example_digests(batch)) == [0, 1]
    assert torch.equal(batch.to("cpu").tokens.input_ids, batch.tokens.input_ids)


def test_bytes_of_the_labels_are_counted() -> None:
    vocabulary = replace(VOCABULARY, num_bytes=torch.arange(500).numpy())
    batch = pack_one(make_examples(SIZES), PackedShape(8, 32), TokenMasking(), vocabulary, 100)
    mlm = batch.targets["mlm"]
    assert mlm.num_bytes == int(mlm.labels[: mlm.count].sum()) > 0
    assert batch.targets["nsp"].num_bytes == 0
