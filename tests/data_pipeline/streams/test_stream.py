"""The promise of the pipeline: the same global batches for any ranks, workers, micro-batches, and after any resume."""

import gc
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from data_pipeline.masking.masking import TokenMasking
from data_pipeline.masking.word_masking import SpanMasking, WholeWordMasking
from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.pairs.sentence_order import SentenceOrder
from data_pipeline.pairs.sentence_pair import SentencePairs
from data_pipeline.pairs.sentence_runs import DocSentences, FullSentences
from data_pipeline.pairs.token_blocks import TokenBlocks
from data_pipeline.records import NO_LABEL
from data_pipeline.streams import stream as stream_module
from data_pipeline.streams.packed_batch import PackedBatch, batch_digest, example_digests, global_digest
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.stream import PretrainingStream
from data_pipeline.streams.validation_stream import ValidationStream
from tests.support.checkout import checkout_environment
from tests.support.streams import GLOBAL_BATCH, make_samples, make_stream
from tests.support.texts import WORDS, tiny_texts, write_prepared
from tests.support.version_two import write_version_two

OPEN_FILES = Path("/proc/self/fd")


def digests(
    folder: Path,
    steps: int,
    world_size: int = 1,
    start: int = 0,
    source: dict[str, object] | None = None,
    **changes: int,
) -> list[str]:
    """Digests of global batches put together from the shares of all ranks."""
    streams: list[Iterator[list[PackedBatch]]] = []
    for rank in range(world_size):
        stream = make_stream(make_samples(folder, **source or {}), rank=rank, world_size=world_size, **changes)
        stream.consumed_samples = start * GLOBAL_BATCH
        streams.append(iter(stream))
    found = []
    for _ in range(steps):
        parts: dict[int, bytes] = {}
        for stream in streams:
            for batch in next(stream):
                own = example_digests(batch)
                assert not set(parts) & set(own)
                parts |= own
        assert sorted(parts) == list(range(GLOBAL_BATCH))
        found.append(global_digest(parts))
    return found


@pytest.fixture(scope="module")
def reference(prepared: Path) -> list[str]:
    """Digests of one process without workers; more than two epochs of the tiny corpus."""
    samples = make_samples(prepared)
    steps = 2 * samples.epoch_plan(0).size // GLOBAL_BATCH + 3
    return digests(prepared, steps, micro_batch_size=GLOBAL_BATCH)


@pytest.mark.parametrize(
    ("world_size", "micro_batch_size"), [(1, 4), (2, 8), (2, 24), (3, 4), (4, 3), (6, 2), (8, 6), (12, 4), (24, 1)]
)
def test_global_batches_do_not_depend_on_ranks_and_micro_batches(
    prepared: Path, reference: list[str], world_size: int, micro_batch_size: int
) -> None:
    assert digests(prepared, 5, world_size, micro_batch_size=micro_batch_size) == reference[:5]


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_global_batches_do_not_depend_on_workers(prepared: Path, reference: list[str], num_workers: int) -> None:
    assert digests(prepared, 5, 2, num_workers=num_workers) == reference[:5]


SPAWNED = """
import sys, torch
from itertools import islice
from pathlib import Path
from data_pipeline.streams.packed_batch import batch_digest
from tests.support.streams import GLOBAL_BATCH, make_samples, make_stream

if __name__ == "__main__":
    torch.multiprocessing.set_start_method("spawn")
    stream = make_stream(make_samples(Path(sys.argv[1])), GLOBAL_BATCH, num_workers=2)
    print(*[batch_digest(batches) for batches in islice(stream, 4)])
"""


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_spawned_workers_and_hash_seeds_change_nothing(
    prepared: Path, reference: list[str], tmp_path: Path, hash_seed: str
) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    env = checkout_environment(PYTHONHASHSEED=hash_seed)
    done = subprocess.run([sys.executable, str(script), str(prepared)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == reference[:4]


FORMATS = [SegmentPairs(), SentencePairs(), SentenceOrder(), FullSentences(), DocSentences(), TokenBlocks()]
MASKINGS = [
    TokenMasking(exact_count=False),
    TokenMasking(static_masks=2),
    WholeWordMasking(),
    SpanMasking(exact_count=False),
]


@pytest.mark.parametrize("pairs", FORMATS, ids=lambda pairs: type(pairs).__name__)
def test_every_format_gives_the_same_batches_whoever_reads_and_wherever_it_resumes(
    prepared: Path, pairs: PairFormat
) -> None:
    source = {"pairs": pairs}
    epoch = make_samples(prepared, **source).epoch_plan(0).size // GLOBAL_BATCH
    whole = digests(prepared, epoch + 3, micro_batch_size=GLOBAL_BATCH, source=source)
    assert digests(prepared, 2, 3, micro_batch_size=4, source=source) == whole[:2]
    assert digests(prepared, 3, 8, epoch, micro_batch_size=6, source=source) == whole[epoch:]
    assert len(set(whole)) == len(whole)


@pytest.mark.parametrize("pairs", FORMATS, ids=lambda pairs: type(pairs).__name__)
def test_filler_is_under_two_percent_however_short_the_examples(prepared: Path, pairs: PairFormat) -> None:
    samples = make_samples(prepared, pairs=pairs, seq_len=512)
    stream = PretrainingStream(samples, 64, 32, 100)
    batches = [batch for step in islice(stream, 8) for batch in step]
    computed = sum(len(batch.tokens.input_ids) for batch in batches)
    assert sum(batch.num_tokens for batch in batches) > 0.98 * computed


@pytest.mark.parametrize("masking", MASKINGS, ids=lambda masking: type(masking).__name__)
def test_every_masking_gives_the_same_batches_whoever_reads_and_wherever_it_resumes(
    prepared: Path, masking: TokenMasking
) -> None:
    source = {"masking": masking}
    whole = digests(prepared, 6, micro_batch_size=GLOBAL_BATCH, source=source)
    assert digests(prepared, 3, 4, 3, micro_batch_size=4, source=source) == whole[3:]


def test_an_example_goes_through_its_static_masks_each_time_its_cut_comes_again(prepared: Path) -> None:
    """Sixteen epochs of two cuts: each cut comes eight times, with three masks; a second cut has masks of its own."""
    source = {"pairs": SegmentPairs(dupe_factor=2), "masking": TokenMasking(static_masks=3)}
    samples = make_samples(prepared, **source)
    masks: list[set[int]] = []
    begin = 0
    for epoch in range(16):
        samples_of_epoch = np.arange(begin, begin + samples.epoch_plan(epoch).size)
        masks.append(set(samples.find(samples_of_epoch, samples.locate(samples_of_epoch)).keys.tolist()))
        begin += len(samples_of_epoch)
    assert masks[0] == masks[6] != masks[2] != masks[4]
    assert masks[1] == masks[7]
    assert not masks[0] & masks[1]
    assert not masks[0] & masks[2]
    assert not masks[2] & masks[4]


def test_ranks_of_a_large_batch_read_the_lanes_of_their_group_only(
    prepared: Path, reference: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If every lane has enough examples a step, each of four ranks reads one; what it leaves it lets go."""
    monkeypatch.setattr(stream_module, "BALANCED_TOGETHER", GLOBAL_BATCH // 4)
    monkeypatch.setattr(stream_module, "FOUND_TOGETHER", 1)
    assert digests(prepared, 5, 4, micro_batch_size=4) == reference[:5]
    for rank in range(4):
        samples = make_samples(prepared, window_shards=1)
        epoch = samples.epoch_plan(0).size // GLOBAL_BATCH
        stream = islice(make_stream(samples, 4, rank=rank, world_size=4), epoch + 8)
        held = [set(samples._windows._held) for _ in stream]
        assert held[0] == held[3] == held[-1] == {rank}


def test_static_masks_come_again_after_as_many_epochs(prepared: Path) -> None:
    source = {"pairs": DocSentences(), "masking": TokenMasking(static_masks=2)}
    samples = make_samples(prepared, **source)
    size = samples.epoch_plan(0).size
    stream = iter(PretrainingStream(samples, size, size, 10))
    epochs = [sorted(example_digests(next(stream)[0]).values()) for _ in range(4)]
    assert epochs[0] == epochs[2] != epochs[1] == epochs[3]
    assert len(set(epochs[0]) & set(epochs[1])) < 0.1 * size


@pytest.mark.parametrize("where", ["1", "epoch - 1", "epoch", "epoch + 1", "second epoch"])
@pytest.mark.parametrize("world_size", [1, 4])
def test_a_resume_continues_wherever_it_is(prepared: Path, reference: list[str], where: str, world_size: int) -> None:
    epoch = make_samples(prepared).epoch_plan(0).size // GLOBAL_BATCH
    start = {"1": 1, "epoch - 1": epoch - 1, "epoch": epoch, "epoch + 1": epoch + 1, "second epoch": 2 * epoch - 1}[
        where
    ]
    assert digests(prepared, 3, world_size, start=start, micro_batch_size=4) == reference[start : start + 3]


def test_the_state_is_one_integer_and_the_same_on_every_rank(prepared: Path, reference: list[str]) -> None:
    streams = [make_stream(make_samples(prepared), rank=rank, world_size=2) for rank in range(2)]
    for stream in streams:
        list(islice(stream, 4))
    states = [stream.state_dict() for stream in streams]
    assert states[0] == states[1]
    assert states[0]["consumed_samples"] == 4 * GLOBAL_BATCH
    resumed = make_stream(make_samples(prepared), GLOBAL_BATCH)
    resumed.load_state_dict(states[0])
    assert [batch_digest(batches) for batches in islice(resumed, 2)] == reference[4:6]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seq_len": 64}, "seq_len was 48 and is 64"),
        ({"seed": 4}, "seed was 3 and is 4"),
        ({"masking": WholeWordMasking()}, "masking was"),
        ({"pairs": SegmentPairs(short_seq_prob=0.2)}, "pairs was"),
        ({"num_lanes": 3}, "num_lanes was 4 and is 3"),
        ({"window_shards": 3}, "window_shards was 2 and is 3"),
        ({"shuffle": False}, "shuffle was True and is False"),
        ({"masking": TokenMasking(exclude_special_replacements=False)}, "masking was"),
        (
            {"exclude_shards": ["train/part-00003.tar"]},
            r"data.exclude_shards was \[\] and is \['train/part-00003.tar'\]",
        ),
    ],
)
def test_the_state_of_another_stream_is_refused_with_the_difference(
    prepared: Path, change: dict[str, object], named: str
) -> None:
    state = make_stream(make_samples(prepared)).state_dict()
    with pytest.raises(ValueError, match=named):
        make_stream(make_samples(prepared, **change)).load_state_dict(state)
    with pytest.raises(ValueError, match="position in the stream of version 2, not 1"):
        make_stream(make_samples(prepared)).load_state_dict(state | {"version": 2})


def test_the_state_of_another_corpus_is_refused(prepared: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    other = write_prepared(tmp_path, tokenizer, [tiny_texts(12, seed=50)], tiny_texts(5))
    state = make_stream(make_samples(prepared)).state_dict()
    with pytest.raises(ValueError, match="corpus was"):
        make_stream(make_samples(other)).load_state_dict(state)


def test_an_excluded_shard_is_never_read(prepared: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "copy"))
    damaged = "train/part-00003.tar"
    (folder / damaged).write_bytes(b"no tar")
    with pytest.raises(ValueError, match=damaged):
        make_samples(folder)
    samples = make_samples(folder, exclude_shards=[damaged])
    assert samples.epoch_plan(0).size < make_samples(prepared).epoch_plan(0).size
    assert len(digests(folder, 12, 2, source={"exclude_shards": [damaged]})) == 12
    with pytest.raises(ValueError, match=r"exclude_shards.*train/part-99\.tar"):
        make_samples(folder, exclude_shards=["train/part-99.tar"])


def read_back(batches: list[PackedBatch]) -> list[tuple[tuple[int, ...], int]]:
    """Original token ids, masks undone, and pair label of every example, by its place in the global batch."""
    examples = {}
    for batch in batches:
        ids = batch.tokens.input_ids.clone()
        count = batch.targets["mlm"].count
        ids[batch.targets["mlm"].positions[:count].long()] = batch.targets["mlm"].labels[:count]
        ends = batch.tokens.cu_seqlens.tolist()
        for row in range(batch.num_examples):
            content = tuple(ids[ends[row] : ends[row + 1]].tolist())
            labels = [int(target.labels[row]) for name, target in batch.targets.items() if name != "mlm"]
            examples[int(batch.sample_ids[row])] = (content, *(labels or [NO_LABEL]))
    return [examples[sample] for sample in sorted(examples)]


def test_epochs_differ_in_order_and_masks_and_every_true_pair_comes_once_an_epoch(prepared: Path) -> None:
    samples = make_samples(prepared, pairs=SegmentPairs(dupe_factor=1))
    size = samples.epoch_plan(0).size
    stream = iter(PretrainingStream(samples, size, size, 10))
    batches = [next(stream) for _ in range(2)]
    first, second = (read_back(batch) for batch in batches)
    assert first != second
    true_pairs = [sorted(text for text, label in epoch if label == 0 and len(text) < 48) for epoch in (first, second)]
    assert true_pairs[0] == true_pairs[1]
    assert len(true_pairs[0]) > 10
    inputs = [sorted(example_digests(batch[0]).values()) for batch in batches]
    assert len(set(inputs[0]) & set(inputs[1])) < 0.05 * size


def test_dupe_factor_cuts_the_corpus_anew(prepared: Path) -> None:
    samples = make_samples(prepared, pairs=SegmentPairs(dupe_factor=2))
    sizes = [samples.epoch_plan(epoch).size for epoch in range(4)]
    assert sizes[:2] == sizes[2:]
    assert sizes[0] != sizes[1]
    begin_of_fifth_epoch = 2 * sum(sizes[:2])
    assert samples.epochs.passed(begin_of_fifth_epoch) == 4.0
    assert samples.locate(np.arange(begin_of_fifth_epoch - 1, begin_of_fifth_epoch + 1))[0].tolist() == [3, 4]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A prepared folder of 16 shards, so of 16 lanes, whose documents have 10 to 3,000 tokens (log-normal)."""
    numbers = np.random.default_rng(0)

    def text(size: int) -> list[str]:
        return [" ".join(numbers.choice(WORDS, size=min(30, size - begin))) for begin in range(0, size, 30)]

    sizes = np.clip(numbers.lognormal(4.2, 1.2, size=(16, 100)), 10, 3000).astype(int)
    shards = [[text(size) for size in sizes_of_shard.tolist()] for sizes_of_shard in sizes]
    return write_prepared(tmp_path_factory.mktemp("uneven"), tokenizer, shards, tiny_texts(5))


@pytest.mark.parametrize("seq_len", [128, 512])
@pytest.mark.parametrize("num_micro_batches", [1, 2])
def test_no_rank_has_two_percent_more_tokens_than_the_mean(uneven: Path, seq_len: int, num_micro_batches: int) -> None:
    """Eight ranks of 32 examples each, which go round 16 lanes; nor has a micro-batch of a rank more than another."""
    samples = make_samples(uneven, seq_len=seq_len, num_lanes=16, window_shards=1)
    assert samples.epoch_plan(0).num_lanes == 16
    size = 32 // num_micro_batches
    ranks = [islice(PretrainingStream(samples, 256, size, 8, rank=rank, world_size=8), 8) for rank in range(8)]
    tokens = np.array([[[batch.num_tokens for batch in step] for step in rank] for rank in ranks])
    of_ranks = tokens.sum(axis=2)  # (ranks, steps)
    assert (of_ranks.max(axis=0) < 1.02 * of_ranks.mean(axis=0)).all()
    assert (tokens.max(axis=(0, 2)) < 1.05 * tokens.mean(axis=(0, 2))).all()


@pytest.mark.parametrize("world_size", [1, 4])
def test_steps_found_together_stay_within_the_run_and_the_epoch(prepared: Path, world_size: int) -> None:
    samples = make_samples(prepared)
    epoch = samples.epoch_plan(0).size
    steps = stream_module._StepBuffers(
        samples, GLOBAL_BATCH, PackedShape(4, 48), 3 * GLOBAL_BATCH, 0, world_size
    )._steps_found_together(0, 9)
    assert steps.tolist() == [0, GLOBAL_BATCH, 2 * GLOBAL_BATCH]
    buffers = stream_module._StepBuffers(samples, GLOBAL_BATCH, PackedShape(4, 48), 10**6, 0, world_size)
    begin = (epoch // GLOBAL_BATCH - 2) * GLOBAL_BATCH
    assert buffers._steps_found_together(begin, 9).tolist() == [begin, begin + GLOBAL_BATCH]
    assert buffers._steps_found_together(begin + 2 * GLOBAL_BATCH, 9).tolist() == [begin + 2 * GLOBAL_BATCH]


def test_more_ranks_than_shards_and_a_single_shard(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = write_prepared(tmp_path, tokenizer, [tiny_texts(12, seed=5)], tiny_texts(5))
    assert digests(folder, 4, 24, micro_batch_size=2) == digests(folder, 4, micro_batch_size=GLOBAL_BATCH)


def test_a_batch_that_does_not_divide_is_refused(prepared: Path) -> None:
    with pytest.raises(ValueError, match=r"global_batch_size=48.*micro_batch_size=8 times 4"):
        make_stream(make_samples(prepared), 8, world_size=4)


def test_a_sequence_too_short_for_a_pair_is_refused(prepared: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.seq_len.*got 4"):
        make_samples(prepared, seq_len=4)


def test_a_split_without_pairs_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = write_prepared(tmp_path, tokenizer, [[["the king ."]]], tiny_texts(3))
    with pytest.raises(ValueError, match="gives no example"):
        make_samples(folder)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_validation_is_one_pass_of_equal_length_on_every_rank(prepared: Path, world_size: int) -> None:
    samples = make_samples(prepared, "validation", shuffle=False)
    streams = [ValidationStream(samples, 4, rank, world_size) for rank in range(world_size)]
    items = [list(stream) for stream in streams]
    assert len({len(share) for share in items}) == 1
    assert len(items[0]) == len(streams[0])
    pairs = sum(batch.num_examples for share in items for (batch,) in share)
    assert pairs == samples.epoch_plan(0).size
    for share in items:
        for (batch,) in share:
            assert len(batch.targets["nsp"].labels) == 4
            assert (batch.targets["nsp"].labels[batch.num_examples :] == -100).all()
            assert (batch.targets["mlm"].labels[batch.targets["mlm"].count :] == -100).all()


def test_validation_is_the_same_every_time_and_can_be_cut_short(prepared: Path) -> None:
    stream = ValidationStream(make_samples(prepared, "validation", shuffle=False), 4, max_samples=10)
    first, second = list(stream), list(stream)
    assert sum(batch.num_examples for (batch,) in first) == 10
    for (a,), (b,) in zip(first, second, strict=True):
        assert torch.equal(a.tokens.input_ids, b.tokens.input_ids)
        assert torch.equal(a.targets["mlm"].labels, b.targets["mlm"].labels)


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_shorter_validation_is_a_sample_of_the_whole_split(prepared: Path, world_size: int) -> None:
    """The examples are those that a whole pass gives, masks included, at even distances from begin to end."""
    samples = make_samples(prepared, "validation", shuffle=False)

    def examples(max_samples: int | None) -> list[list[int]]:
        streams = [
            ValidationStream(samples, 4, rank, world_size, max_samples=max_samples) for rank in range(world_size)
        ]
        found = []
        for batches in zip(*streams, strict=True):
            for batch in (each for (each,) in batches):
                ends = batch.tokens.cu_seqlens[: batch.num_examples + 1].tolist()
                found += [batch.tokens.input_ids[a:b].tolist() for a, b in pairwise(ends)]
        return found

    every, some = examples(None), examples(10)
    assert len(some) == 10 < len(every)
    assert some == [every[(2 * n + 1) * len(every) // 20] for n in range(10)]
    assert examples(len(every)) == examples(10 * len(every)) == every


@pytest.mark.parametrize("pairs", FORMATS, ids=lambda pairs: type(pairs).__name__)
def test_the_first_batches_of_the_tiny_corpus_never_change(prepared: Path, pairs: PairFormat) -> None:
    """Golden digests, one for each masking: where they change on purpose, raise STREAM_VERSION."""
    found = [
        digests(prepared, 1, micro_batch_size=GLOBAL_BATCH, source={"pairs": pairs, "masking": masking})[0][:8]
        for masking in (TokenMasking(), *MASKINGS)
    ]
    assert found == GOLDEN[type(pairs).__name__].split()


GOLDEN = {
    "SegmentPairs": "13f5ddf1 382b8d9b 12ff89d6 6ef9f7ff c44b85f2",
    "SentencePairs": "2ef2b758 d40afabf 6b77291b 2d7b2aeb 370a7ab6",
    "SentenceOrder": "38a02e40 1ef13097 bbce3056 7e1b19ff 78d65e44",
    "FullSentences": "2d4fc938 f447752a 27e72614 6e3648ca 5a69b979",
    "DocSentences": "93239f88 2ff49596 68cb5199 0c0f4b73 0e584024",
    "TokenBlocks": "d230c95e b1062c24 7d8a38cf 8b881ebe 3450eef7",
}


def test_a_folder_of_format_version_two_gives_the_same_stream(
    prepared: Path, reference: list[str], tmp_path: Path
) -> None:
    folder = write_version_two(prepared, tmp_path / "two")
    samples, now = make_samples(folder), make_samples(prepared)
    assert (samples.manifest.format_version, now.manifest.format_version) == (2, 3)
    assert not any(entry.side_files for entry in samples.entries)
    assert all(set(entry.side_files) == {"lengths", "hashes"} for entry in now.entries)
    assert samples.fingerprint() == now.fingerprint()
    assert digests(folder, 5, 2) == reference[:5]
    assert {path.name for path in (folder / "index").iterdir()} <= {
        path.name for path in (prepared / "index").iterdir()
    }


def test_memory_does_not_grow_with_what_was_read(prepared: Path) -> None:
    samples = make_samples(prepared, num_lanes=2, window_shards=1)
    stream = iter(make_stream(samples, GLOBAL_BATCH))
    epoch = samples.epoch_plan(0).size // GLOBAL_BATCH
    list(islice(stream, epoch))
    tracemalloc.start()
    held = []
    for _ in range(16):  # what is found ahead makes some readings larger than others
        list(islice(stream, epoch))
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(held[8:]) < max(held[:8]) + 2 * max(entry.bytes for entry in samples.entries)


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="the system does not list open files")
def test_streams_leave_no_file_open(prepared: Path) -> None:
    held = []
    for _ in range(3):
        list(islice(make_stream(make_samples(prepared), num_workers=2), 2))
        gc.collect()
        held.append(len(list(OPEN_FILES.iterdir())))
    assert held[2] <= held[0]


def test_what_a_worker_finds_wrong_reaches_the_reader_as_one_line(prepared: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "copy"))
    samples = make_samples(folder)
    shard = folder / samples.entries[0].name
    content = bytearray(shard.read_bytes())
    content[700] ^= 255
    shard.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"^[^\n]*part-00000\.tar[^\n]*$"):
        list(islice(make_stream(samples, num_workers=1), 40))


def test_another_seed_is_another_stream(prepared: Path, reference: list[str]) -> None:
    assert not set(digests(prepared, 3, source={"seed": 4})) & set(reference)
