"""Batches of tasks depend on neither ranks nor micro-batches, epochs have each example once, resumes are exact."""

from itertools import islice

import numpy as np
import pytest

from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.task_packing import TOKENS, TaskPacker, rows_of_examples
from data_pipeline.streams.task_stream import ScoringStream, TaskStream
from data_pipeline.tasks.encoded import LABELS, EncodedExamples, EncodedTargets

NUM_EXAMPLES = 37


def examples(seed: int = 0, per_example: int = 1) -> EncodedExamples:
    """Sequences of which every token says its example; labels are the examples too, and some are absent."""
    numbers = np.random.default_rng(seed)
    lengths = numbers.integers(3, 20, size=NUM_EXAMPLES * per_example)
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)])
    owner = np.repeat(np.arange(len(lengths)) // per_example, lengths).astype(np.int32)
    labels = (np.arange(len(lengths)) // per_example).astype(np.int32)
    labels[::5] = NO_LABEL
    tags = EncodedTargets(
        np.concatenate([np.arange(1, length) for length in lengths]).astype(np.int32),
        np.repeat(np.arange(len(lengths)), lengths - 1).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths - 1)]),
    )
    first = EncodedTargets(np.zeros(len(lengths), dtype=np.int32), labels, np.arange(len(lengths) + 1))
    types = (owner % 2).astype(np.int8)
    return EncodedExamples(owner, types, cu_seqlens, {LABELS: first, "tags": tags}, per_example)


def content(batches: list[PackedBatch]) -> dict[int, tuple[bytes, ...]]:
    """What every example of some batches says, by its place in the global batch."""
    found = {}
    for batch in batches:
        ends, tags = batch.tokens.cu_seqlens.tolist(), batch.targets["tags"]
        for row, sample in enumerate(batch.sample_ids[: batch.num_examples].tolist()):
            begin, end = ends[row : row + 2]
            inside = (tags.positions >= begin) & (tags.positions < end) & (tags.labels != NO_LABEL)
            arrays = (
                batch.tokens.input_ids[begin:end],
                batch.tokens.token_type_ids[begin:end],
                batch.tokens.position_ids[begin:end],
                batch.targets[LABELS].positions[row : row + 1] - begin,
                batch.targets[LABELS].labels[row : row + 1],
                tags.positions[inside] - begin,
                tags.labels[inside],
            )
            found[sample] = tuple(array.numpy().tobytes() for array in arrays)
    return found


@pytest.mark.parametrize(("world_size", "micro", "num_shapes"), [(1, 16, None), (1, 4, 3), (2, 8, None), (4, 2, None)])
def test_global_batches_depend_on_neither_ranks_nor_micro_batches(
    world_size: int, micro: int, num_shapes: int | None
) -> None:
    whole = [content(batches) for batches in islice(TaskStream(examples(), 16, 8, 9, seed=3), 6)]
    streams = [
        iter(TaskStream(examples(), 16, micro, 9, seed=3, rank=rank, world_size=world_size, num_shapes=num_shapes))
        for rank in range(world_size)
    ]
    for expected in whole:
        shares = [content(next(stream)) for stream in streams]
        assert [len(share) for share in shares] == [16 // world_size] * world_size
        assert {sample: each for share in shares for sample, each in share.items()} == expected


def test_every_epoch_has_each_example_once_in_another_order() -> None:
    stream = TaskStream(examples(), 8, 8, 20, seed=1)
    order = np.concatenate([stream.examples_of(8 * step) for step in range(14)])[: 3 * NUM_EXAMPLES]
    epochs = order.reshape(3, NUM_EXAMPLES)
    assert (np.sort(epochs, axis=1) == np.arange(NUM_EXAMPLES)).all()
    assert not (epochs[0] == epochs[1]).all()
    other = TaskStream(examples(), 8, 8, 20, seed=2)
    assert not (other.examples_of(0) == stream.examples_of(0)).all()


def test_real_tokens_are_counted_and_filler_has_no_labels() -> None:
    for batches in islice(TaskStream(examples(), 16, 4, 5, seed=0), 5):
        for batch in batches:
            target, tags = batch.targets[LABELS], batch.targets["tags"]
            ids = batch.tokens.input_ids[: batch.num_tokens]
            assert batch.num_examples == 4 == len(target.positions)
            assert (batch.tokens.cu_seqlens.diff() >= 0).all()
            assert int(batch.tokens.cu_seqlens[-1]) == len(batch.tokens.input_ids) >= batch.num_tokens
            assert target.count == int((target.labels != NO_LABEL).sum())
            assert tags.count == batch.num_tokens - batch.num_examples
            assert (tags.labels[tags.count :] == NO_LABEL).all()
            labeled = target.labels != NO_LABEL
            assert (ids[target.positions.long()][labeled] == target.labels[labeled]).all()


def test_a_stream_goes_on_where_its_state_was_taken() -> None:
    stream = TaskStream(examples(), 8, 4, 9, seed=3)
    batches = [content(each) for each in islice(stream, 9)]
    first = TaskStream(examples(), 8, 8, 9, seed=3)
    list(islice(first, 4))
    resumed = TaskStream(examples(), 8, 2, 9, seed=3, world_size=2)
    resumed.load_state_dict(first.state_dict())
    assert resumed.consumed_samples == 32
    found = content(next(iter(resumed)))
    assert len(found) == 4
    assert found.items() <= batches[4].items()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (TaskStream(examples(1), 8, 4, 9, seed=3), "task.examples was"),
        (TaskStream(examples(), 8, 4, 9, seed=4), "seed was 3 and is 4"),
        (TaskStream(examples(), 4, 4, 9, seed=3), "data.global_batch_size was 8 and is 4"),
    ],
)
def test_a_state_of_other_examples_or_another_order_is_refused(other: TaskStream, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        other.load_state_dict(TaskStream(examples(), 8, 4, 9, seed=3).state_dict())


def test_a_state_of_another_version_is_refused() -> None:
    stream = TaskStream(examples(), 8, 4, 9, seed=3)
    with pytest.raises(ValueError, match="position in the stream of version 2, not 1"):
        stream.load_state_dict(stream.state_dict() | {"version": 2})


def test_a_batch_that_cannot_be_dealt_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.global_batch_size=16 is not a multiple of .*=8 times 4"):
        TaskStream(examples(), 16, 8, 9, seed=3, world_size=4)


@pytest.mark.parametrize("world_size", [1, 2, 3, 64])
def test_scoring_gives_each_example_once_in_the_same_micro_batches(world_size: int) -> None:
    alone = [batch.sample_ids.tolist() for (batch,) in ScoringStream(examples(), 5)]
    streams = [ScoringStream(examples(), 5, rank, world_size) for rank in range(world_size)]
    assert {len(stream) for stream in streams} == {-(-len(alone) // world_size)}
    batches = [batch for stream in streams for (batch,) in stream]
    found = [batch.sample_ids.tolist() for batch in batches if batch.num_examples]
    assert sorted(found) == sorted(alone)
    assert sorted(sample for samples in found for sample in samples) == list(range(NUM_EXAMPLES))
    tokens = [batch.num_tokens for batch in batches if batch.num_examples]
    assert max(tokens) <= 2 * sum(tokens) / len(tokens)


def test_choices_of_one_example_stay_together() -> None:
    encoded = examples(per_example=3)
    assert len(encoded) == NUM_EXAMPLES
    for batches in islice(TaskStream(encoded, 8, 4, 3, seed=0), 3):
        for batch in batches:
            owners = batch.tokens.input_ids[batch.tokens.cu_seqlens[:12].long()].view(4, 3)
            assert (owners == owners[:, :1]).all()
            assert len(batch.targets[LABELS].positions) == 12
            assert batch.num_examples == 4


def test_taken_examples_are_those_asked_for() -> None:
    encoded, rows = examples(per_example=2), np.array([5, 0, 30])
    taken = encoded.take(rows)
    packer, every = TaskPacker(encoded), np.arange(3)
    (expected,) = packer.pack([rows], [every], packer.shape(3))
    (found,) = TaskPacker(taken).pack([every], [every], packer.shape(3))
    assert found.num_tokens == expected.num_tokens
    for name in ("input_ids", "token_type_ids", "cu_seqlens"):
        assert (getattr(found.tokens, name) == getattr(expected.tokens, name)).all(), name
    for name, target in expected.targets.items():
        assert (found.targets[name].positions == target.positions).all(), name
        assert (found.targets[name].labels == target.labels).all(), name
    assert rows_of_examples(taken, TOKENS).tolist() == taken.cu_seqlens[::2].tolist()
    assert len(rows_of_examples(taken, "tags")) == 4
