"""Mentions in batches: at their first tokens, whole inside a segment, and the same for any ranks and workers."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from bert_lightning.inspect_stream import inspect
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.training.datamodules import HeldOutExamples, PretrainingData
from data_pipeline.knowledge.entity_table import read_entity_table
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.pairs.sentence_order import SentenceOrder
from data_pipeline.pairs.sentence_runs import FullSentences
from data_pipeline.pairs.token_blocks import TokenBlocks
from data_pipeline.streams.packed_batch import ENTITIES, MLM, PackedBatch, batch_digest, example_digests, global_digest
from data_pipeline.streams.phases import Phase, Phases
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.stream_statistics import StreamStatistics
from data_pipeline.streams.validation_stream import ValidationStream
from tests.support.runs import compose_here
from tests.support.streams import make_samples, make_stream

FORMATS = {
    "segment_pair": {},
    "sentence_order": {"pairs": SentenceOrder()},
    "full_sentences": {"pairs": FullSentences()},
    "token_blocks": {"pairs": TokenBlocks()},
}


def expected_mentions(samples: PretrainingSamples, numbers: np.ndarray) -> list[list[tuple[int, int]]]:
    """Position in the example and entity of the mentions of each example, token by token from their definition."""
    examples = samples.find(numbers, samples.locate(numbers))
    found = []
    for row in range(len(numbers)):
        mentions = examples.windows[int(examples.window[row])].mentions
        assert mentions is not None
        first, rows = 1, []
        for start, stop in zip(examples.spans.start[row].tolist(), examples.spans.stop[row].tolist(), strict=True):
            for begin, size, entity in zip(*(each.tolist() for each in _columns(mentions)), strict=True):
                if start <= begin and begin + size <= stop:
                    rows.append((first + begin - start, entity))
            first += stop - start + (stop > start)
        found.append(rows)
    return found


def _columns(mentions: object) -> list[np.ndarray]:
    return [getattr(mentions, name) for name in ("begins", "sizes", "entities")]


def mentions_of(batch: PackedBatch) -> dict[int, list[tuple[int, int]]]:
    """Position in the example and entity of the mentions of each example, by its sample."""
    targets, ends = batch.targets[ENTITIES], batch.tokens.cu_seqlens.tolist()
    rows = list(zip(targets.positions[: targets.count].tolist(), targets.labels.tolist(), strict=False))
    return {
        int(batch.sample_ids[i]): [(p - ends[i], label) for p, label in rows if ends[i] <= p < ends[i + 1]]
        for i in range(batch.num_examples)
    }


@pytest.mark.parametrize("name", FORMATS)
def test_mentions_are_where_their_definition_says(linked_folder: Path, name: str) -> None:
    samples = make_samples(linked_folder, entities=True, **FORMATS[name])
    numbers = np.arange(96)
    expected = expected_mentions(samples, numbers)
    total = 0
    for step, batches in enumerate(islice(make_stream(samples), 2)):
        for batch in batches:
            targets = batch.targets[ENTITIES]
            assert list(batch.targets)[-1] == ENTITIES
            assert len(targets.positions) == len(targets.labels) >= max(targets.count, 1)
            assert not targets.positions[targets.count :].any()
            assert (targets.labels[targets.count :] == -100).all()
            assert (targets.labels[: targets.count] >= 0).all()
            assert (targets.positions[: targets.count].diff() > 0).all()
            for sample, mentions in mentions_of(batch).items():
                assert mentions == expected[48 * step + sample]
                total += len(mentions)
    assert total == sum(map(len, expected)) > 50


def test_some_mentions_are_cut_by_the_end_of_a_segment(linked_folder: Path) -> None:
    """The definition above is tested where it matters: a mention that begins in a segment and does not end there."""
    samples = make_samples(linked_folder, entities=True)
    numbers = np.arange(480)
    examples = samples.find(numbers, samples.locate(numbers))
    cut = 0
    for row in range(len(numbers)):
        begins, sizes, _ = _columns(examples.windows[int(examples.window[row])].mentions)
        for start, stop in zip(examples.spans.start[row], examples.spans.stop[row], strict=True):
            cut += int(((begins >= start) & (begins < stop) & (begins + sizes > stop)).sum())
            cut += int(((begins < start) & (begins + sizes > start)).sum())
    assert cut > 0


@pytest.mark.parametrize("name", FORMATS)
def test_without_them_the_stream_is_what_it_was(linked_folder: Path, name: str) -> None:
    streams = [make_stream(make_samples(linked_folder, entities=flag, **FORMATS[name])) for flag in (True, False)]
    for with_them, without in zip(*(islice(stream, 3) for stream in streams), strict=True):
        for one, other in zip(with_them, without, strict=True):
            assert list(one.targets)[:-1] == list(other.targets)
            assert ENTITIES not in other.targets
            for field in ("input_ids", "position_ids", "token_type_ids", "cu_seqlens"):
                assert torch.equal(getattr(one.tokens, field), getattr(other.tokens, field))
            for target, same in zip(one.targets.values(), other.targets.values(), strict=False):
                assert torch.equal(target.positions, same.positions)
                assert torch.equal(target.labels, same.labels)
            moved = one.to("cpu")
            assert torch.equal(moved.targets[ENTITIES].labels, one.targets[ENTITIES].labels)
            assert example_digests(one).keys() == example_digests(other).keys()
            assert example_digests(one) != example_digests(other)


def test_ranks_and_micro_batches_do_not_change_them(linked_folder: Path) -> None:
    samples = make_samples(linked_folder, entities=True)
    expected = [batch_digest(batches) for batches in islice(make_stream(samples), 3)]
    assert len(set(expected)) == 3
    for world_size, micro in ((2, 12), (3, 4)):
        streams = [make_stream(samples, micro, rank=rank, world_size=world_size) for rank in range(world_size)]
        for steps, digest in zip(zip(*(islice(stream, 3) for stream in streams), strict=True), expected, strict=True):
            digests: dict[int, bytes] = {}
            for batch in (batch for batches in steps for batch in batches):
                digests |= example_digests(batch)
            assert global_digest(digests) == digest


def test_a_stream_continues_with_them_and_not_without(linked_folder: Path) -> None:
    whole = [batch_digest(batches) for batches in islice(make_stream(make_samples(linked_folder, entities=True)), 4)]
    first = make_stream(make_samples(linked_folder, entities=True))
    list(islice(first, 2))
    resumed = make_stream(make_samples(linked_folder, entities=True))
    resumed.load_state_dict(first.state_dict())
    assert [batch_digest(batches) for batches in islice(resumed, 2)] == whole[2:]
    plain = make_stream(make_samples(linked_folder))
    with pytest.raises(ValueError, match=r"another stream of examples[^\n]*entities was [0-9a-f]{64} and is None"):
        plain.load_state_dict(first.state_dict())


def test_held_out_examples_have_them_and_filler_has_none(linked_folder: Path) -> None:
    samples = make_samples(linked_folder, "validation", entities=True, shuffle=False)
    batches = [batch for batches in ValidationStream(samples, 8, rank=1, world_size=2) for batch in batches]
    assert sum(batch.targets[ENTITIES].count for batch in batches) > 5
    last = ValidationStream(samples, 8, rank=1, world_size=2, max_samples=3)
    ((filler,),) = list(last)
    assert filler.num_examples == 0
    assert filler.targets[ENTITIES].count == 0
    assert len(filler.targets[ENTITIES].labels) >= 1


def test_statistics_and_pair_labels_leave_them_out(linked_folder: Path) -> None:
    tables = []
    for entities in (True, False):
        samples = make_samples(linked_folder, entities=entities, pairs=FullSentences())
        (batches,) = islice(make_stream(samples), 1)
        assert batches[0].pair_target is None
        statistics = StreamStatistics(samples.vocabulary)
        statistics.add(batches)
        tables.append(statistics.table())
    assert tables[0] == tables[1]
    (batches,) = islice(make_stream(make_samples(linked_folder, entities=True)), 1)
    assert batches[0].pair_target is batches[0].targets["nsp"]
    assert list(batches[0].targets) == [MLM, "nsp", ENTITIES]


def test_a_folder_without_mentions_is_refused_by_name(prepared: Path) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]* has no mentions of entities; prepare it with corpus\.links=true$"):
        make_samples(prepared, entities=True)


def test_the_data_of_a_run_have_them_if_its_objective_reads_them(linked_folder: Path, tmp_path: Path) -> None:
    assert not MaskedLM.reads_entities
    phases = Phases((Phase(4, 48, 16, 8, TokenMasking()),))
    settings = (linked_folder, make_samples(linked_folder).pairs, phases, HeldOutExamples(TokenMasking()))
    data = PretrainingData(*settings, cache_dir=tmp_path, entities=True)
    assert data._samples[0].target_names == data._held_out_samples.target_names == (MLM, "nsp", ENTITIES)
    with pytest.raises(ValueError, match=r"^compile\.dynamic=false takes batches of a few fixed shapes"):
        PretrainingData(*settings, cache_dir=tmp_path, entities=True, num_shapes=4)


def test_bert_inspect_shows_them(linked_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"data.path": linked_folder, "data.cache_dir": tmp_path, "data.num_workers": 0, "num_batches": 1}
    shared = {**settings, "data.seq_len": 64, "num_examples": 8, "unigram_entropy": "false"}
    titles = read_entity_table(linked_folder).titles
    for entities, is_shown in (("null", True), ("false", False)):
        inspect(compose_here("inspect", {**shared, "entities": entities}))
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mentions ")]
        assert len(lines) == (8 if is_shown else 0)
        named = [each.split(" = ")[1] for line in lines if " = " in line for each in line.split("; ")]
        assert set(named) <= set(titles)
        assert bool(named) == is_shown
    with pytest.raises(ValueError, match=r"^entities must be true or false or null; got 5"):
        inspect(compose_here("inspect", {**shared, "entities": 5}))
