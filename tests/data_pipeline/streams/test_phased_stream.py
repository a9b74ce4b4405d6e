"""Phases one after another: the same global batches for any ranks, workers and resume, and what a resume refuses."""

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.masking.masking import TokenMasking
from data_pipeline.streams import stream as stream_module
from data_pipeline.streams.packed_batch import batch_digest, example_digests, global_digest
from data_pipeline.streams.phased_stream import PhasedStream
from data_pipeline.streams.phases import Phase, Phases
from tests.support.streams import GLOBAL_BATCH, make_samples, make_stream

PHASES = (
    Phase(4, 24, 48, 12, TokenMasking(0.3)),
    Phase(3, 48, 24, 6, TokenMasking()),
    Phase(3, 48, 12, 6, TokenMasking(0.2)),
)


def make_phased(folder: Path, phases: Sequence[Phase] = PHASES, start: int = 0, **changes: int) -> PhasedStream:
    samples = [make_samples(folder, masking=phase.masking, seq_len=phase.seq_len) for phase in phases]
    stream = PhasedStream(Phases(tuple(phases)), samples, **changes)
    stream.start_after(start)
    return stream


def digests(
    folder: Path, steps: int, world_size: int = 1, start: int = 0, phases: Sequence[Phase] = PHASES, **changes: int
) -> list[str]:
    """Digests of global batches put together from the shares of all ranks."""
    ranks = [
        make_phased(folder, phases, start, rank=rank, world_size=world_size, **changes) for rank in range(world_size)
    ]
    found, streams = [], [iter(rank) for rank in ranks]
    for step in range(start, start + steps):
        parts: dict[int, bytes] = {}
        for stream in streams:
            for batch in next(stream):
                mine = example_digests(batch)
                assert not set(parts) & set(mine)
                parts |= mine
        number = Phases(tuple(phases)).number_at_step(step + 1)
        assert sorted(parts) == list(range(phases[number].global_batch_size))
        found.append(global_digest(parts))
    assert len({rank.consumed_samples for rank in ranks}) == 1
    return found


@pytest.fixture(scope="module")
def reference(prepared: Path) -> list[str]:
    """Digests of the ten steps of the three phases and two more, of one process without workers."""
    return digests(prepared, 12)


def test_a_run_of_one_phase_is_the_stream_it_was(prepared: Path) -> None:
    alone, plain = make_phased(prepared, [Phase(5, 48, 48, 8, TokenMasking())]), make_stream(make_samples(prepared))
    assert [batch_digest(step) for step in islice(alone, 8)] == [batch_digest(step) for step in islice(plain, 8)]
    assert alone.state_dict() == plain.state_dict()
    assert len(alone) == 5


def test_a_cut_between_equal_phases_changes_nothing(prepared: Path) -> None:
    """Across the end of an epoch too: the corpus goes on where it is."""
    whole = Phase(20, 48, GLOBAL_BATCH, 8, TokenMasking())
    cut = [replace(whole, num_steps=steps) for steps in (3, 1, 7, 9)]
    assert digests(prepared, 20, phases=cut) == digests(prepared, 20, phases=[whole])


def test_every_phase_reads_with_its_own_settings(prepared: Path) -> None:
    stream = make_phased(prepared)
    for step, batches in enumerate(islice(stream, 12)):
        phase = PHASES[stream.phases.number_at_step(step + 1)]
        assert {batch.tokens.max_seqlen for batch in batches} == {phase.seq_len}
        assert [batch.num_examples for batch in batches] == [phase.micro_batch_size] * (
            phase.global_batch_size // phase.micro_batch_size
        )
        asked = sum(batch.targets["mlm"].count for batch in batches) / sum(batch.num_tokens for batch in batches)
        assert asked == pytest.approx(phase.masking.prediction_share, abs=0.03)
    assert stream.consumed_samples == 4 * 48 + 3 * 24 + 5 * 12


def test_a_phase_goes_on_where_the_corpus_was_left(prepared: Path) -> None:
    """The passes over the corpus grow without a jump, and a short run reads no shard of a lane again."""
    stream = make_phased(prepared)
    ends = stream.phases.last_samples
    one = [1 / make_samples(prepared, seq_len=phase.seq_len).epoch_plan(0).size for phase in PHASES]
    for end, size in zip(ends, one[1:], strict=False):
        assert stream.epochs_passed(end + 1) - stream.epochs_passed(end) == pytest.approx(size, abs=size / 2 + 1e-9)
    passes = [stream.epochs_passed(samples) for samples in range(0, ends[-1], 6)]
    assert passes == sorted(passes)
    assert passes[-1] == pytest.approx(4 * 48 * one[0] + 72 * one[1] + 36 * one[2], rel=0.05)


def test_masks_alone_leave_the_order_of_the_examples(prepared: Path) -> None:
    masks = [Phase(3, 48, 24, 24, TokenMasking(rate)) for rate in (0.15, 0.4)]
    found = [step[0] for step in islice(make_phased(prepared, masks), 6)]
    plain = [step[0] for step in islice(make_phased(prepared, masks[:1]), 6)]
    for ours, theirs in zip(found, plain, strict=True):
        assert np.array_equal(ours.tokens.cu_seqlens[:25], theirs.tokens.cu_seqlens[:25])
    assert [batch_digest([step]) for step in found[:3]] == [batch_digest([step]) for step in plain[:3]]
    assert found[4].targets["mlm"].count > 2 * plain[4].targets["mlm"].count


@pytest.mark.parametrize(("world_size", "num_workers"), [(2, 0), (1, 1), (2, 3)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_do_not_depend_on_ranks_and_workers(
    prepared: Path, reference: list[str], world_size: int, num_workers: int
) -> None:
    assert digests(prepared, 12, world_size, num_workers=num_workers) == reference


def test_micro_batches_may_change(prepared: Path, reference: list[str]) -> None:
    phases = [replace(phase, micro_batch_size=3) for phase in PHASES]
    assert digests(prepared, 12, 4, phases=phases) == reference


@pytest.mark.parametrize("made", range(12))
def test_a_resume_continues_wherever_it_is(prepared: Path, reference: list[str], made: int) -> None:
    """After every step, the ends of the phases and the steps beyond the run included, with other micro-batches."""
    before = make_phased(prepared, rank=1, world_size=2)
    list(islice(before, made))
    state = before.state_dict()
    assert isinstance(state["consumed_samples"], int)
    after = make_phased(prepared, [replace(phase, micro_batch_size=4) for phase in PHASES])
    after.load_state_dict(state)
    assert [batch_digest(batches) for batches in islice(after, 12 - made)] == reference[made:]


def test_no_process_and_no_window_of_a_phase_outlives_it(prepared: Path) -> None:
    stream = make_phased(prepared, num_workers=2)
    batches = iter(stream)
    list(islice(batches, 4))
    first = set(multiprocessing.active_children())
    assert len(first) >= 2
    next(batches)
    deadline = time.monotonic() + 20
    while first & set(multiprocessing.active_children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not first & set(multiprocessing.active_children())
    alone = make_phased(prepared)
    list(islice(alone, 5))
    assert [len(samples._windows) > 0 for samples in alone._samples] == [False, True, False]


def state_after(folder: Path, steps: int) -> dict[str, object]:
    stream = make_phased(folder)
    list(islice(stream, steps))
    return stream.state_dict()


@pytest.mark.parametrize(
    ("made", "changes", "said"),
    [
        (5, {0: {"num_steps": 5}}, r"phases\[0\]\.steps was 4 and is 5$"),
        (5, {0: {"num_steps": 3}}, r"phases\[0\]\.steps was 4 and is 3$"),
        (5, {0: {"seq_len": 32}}, r"phases\[0\]\.seq_len was 24 and is 32$"),
        (5, {0: {"global_batch_size": 24}}, r"phases\[0\]\.global_batch_size was 48 and is 24$"),
        (5, {0: {"masking": TokenMasking(0.4)}}, r"phases\[0\]\.masking was .*0\.3.* and is .*0\.4"),
        (5, {1: {"seq_len": 40}}, "seq_len was 48 and is 40$"),
        (5, {1: {"masking": TokenMasking(0.4)}}, "masking was .*0.15.* and is .*0.4"),
        (5, {1: {"global_batch_size": 12}}, r"phases\[1\]\.global_batch_size was 24 and is 12, but the checkpoint"),
        (6, {1: {"num_steps": 1}}, r"phases\[1\] has 1 step of 24 examples, but the checkpoint has read 48"),
        (2, {0: {"num_steps": 1}}, r"phases\[0\] has 1 step of 48 examples, but the checkpoint has read 96"),
        (4, {0: {"seq_len": 32}}, "seq_len was 24 and is 32$"),
    ],
)
def test_what_has_been_made_may_not_change(
    prepared: Path, made: int, changes: dict[int, dict[str, object]], said: str
) -> None:
    changed = [replace(phase, **changes.get(number, {})) for number, phase in enumerate(PHASES)]
    with pytest.raises(ValueError, match=said):
        make_phased(prepared, changed).load_state_dict(state_after(prepared, made))


@pytest.mark.parametrize(
    ("made", "changes"),
    [
        (2, {1: {"seq_len": 40, "global_batch_size": 12}}),
        (2, {0: {"num_steps": 2}}),
        (4, {0: {"num_steps": 6}, 2: {"masking": TokenMasking(0.5)}}),
        (4, {1: {"num_steps": 1, "masking": TokenMasking(0.5)}}),
        (6, {1: {"num_steps": 2}}),
        (9, {2: {"num_steps": 1}}),
    ],
)
def test_what_is_to_come_may_change(prepared: Path, made: int, changes: dict[int, dict[str, object]]) -> None:
    """The run goes on as one that had these phases from the beginning."""
    changed = [replace(phase, **changes.get(number, {})) for number, phase in enumerate(PHASES)]
    stream = make_phased(prepared, changed)
    stream.load_state_dict(state_after(prepared, made))
    assert [batch_digest(batches) for batches in islice(stream, 5)] == digests(prepared, 5, start=made, phases=changed)


def test_phases_can_be_added_to_a_run_without_and_left_out_before_they_begin(prepared: Path) -> None:
    first = PHASES[0]
    plain = make_phased(prepared, [replace(first, num_steps=100)])
    list(islice(plain, 3))
    stream = make_phased(prepared)
    stream.load_state_dict(plain.state_dict())
    assert [batch_digest(step) for step in islice(stream, 3)] == digests(prepared, 3, start=3)
    back = make_phased(prepared, [replace(first, num_steps=100)])
    back.load_state_dict(state_after(prepared, 4))
    with pytest.raises(ValueError, match=r"phases\[0\]\.steps was 4 and is None"):
        back.load_state_dict(state_after(prepared, 5))


def test_a_batch_size_that_changed_before_phases_were_added_is_refused(prepared: Path) -> None:
    plain = make_phased(prepared, [replace(PHASES[0], num_steps=100, global_batch_size=36)])
    list(islice(plain, 1))
    state = plain.state_dict() | {"global_batch_size": 48}
    with pytest.raises(ValueError, match=r"phases\[0\] has 4 steps of 48 examples, but the checkpoint has read 36"):
        make_phased(prepared).load_state_dict(state)


@pytest.mark.parametrize("phases", [None, 7, [7], [{"steps": {}}] * 40, {"a": 1}])
def test_finished_phases_that_are_none_are_refused_as_differences(prepared: Path, phases: object) -> None:
    """A checkpoint may hold anything."""
    state = state_after(prepared, 5)
    fingerprint = dict(state["fingerprint"]) | {"phases": phases}
    with pytest.raises(ValueError, match="the checkpoint was made on another stream of examples"):
        make_phased(prepared).load_state_dict(state | {"fingerprint": fingerprint})


def test_later_phases_are_counted_ahead(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts that the later phases need, from the epoch in which they are going to begin."""
    asked: dict[int, list[int]] = {}
    stream = make_phased(prepared, [replace(phase, num_steps=phase.num_steps * 20) for phase in PHASES])
    for number, samples in enumerate(stream._samples):
        monkeypatch.setattr(
            samples.index, "count_ahead", lambda variants, number=number: asked.update({number: variants})
        )
    stream.count_ahead()
    assert sorted(asked) == [0, 1, 2]
    for number in (1, 2):
        first = int(stream.epochs_passed(stream.phases.last_samples[number - 1]))
        assert asked[number][0] == stream._samples[number].epochs.variant(first)


def test_a_loader_is_asked_for_the_steps_of_its_phase_alone(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loader processes read ahead as far as they are asked to; only the last phase has no end."""
    asked: list[list[int]] = []
    plain = stream_module.DataLoader

    def loader(*args: Any, sampler: Any, **settings: Any) -> Any:
        asked.append(list(islice(iter(sampler), 9)))
        return plain(*args, sampler=sampler, **settings)

    monkeypatch.setattr(stream_module, "DataLoader", loader)
    list(islice(make_phased(prepared, start=1), 8))
    assert asked[0] == [48, 96, 144]
    assert [len(steps) for steps in asked] == [3, 3, 9]
