"""The trainer's rank decides the share; the state goes through Lightning's checkpoint and back; waiting is measured."""

import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from bert_lightning.objectives.causal_lm import CausalLM
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.training.datamodules import HeldOutExamples, PretrainingData
from bert_lightning.training.training_data import TimedLoader
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.masking.word_masking import SpanMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.pairs.sentence_order import SentenceOrder
from data_pipeline.pairs.sentence_runs import FullSentences
from data_pipeline.streams.packed_batch import batch_digest, example_digests, global_digest
from tests.support.parity import CONFIG
from tests.support.training import make_data


def test_the_ranks_together_have_the_global_batches_of_one(prepared: Path, tmp_path: Path) -> None:
    whole = [batch_digest(batch) for batch in islice(make_data(prepared, tmp_path).train_dataloader(), 4)]
    loaders = [iter(make_data(prepared, tmp_path, rank, 3).train_dataloader()) for rank in range(3)]
    for digest in whole:
        parts = [example_digests(micro) for loader in loaders for micro in next(loader)]
        assert len(parts) == 6
        assert global_digest({sample: each for part in parts for sample, each in part.items()}) == digest


def test_the_state_continues_under_another_world_size(prepared: Path, tmp_path: Path) -> None:
    loader = make_data(prepared, tmp_path).train_dataloader()
    assert len(loader) == 9
    digests = [batch_digest(batch) for batch in islice(loader, 5)]
    first = make_data(prepared, tmp_path)
    list(islice(first.train_dataloader(), 3))
    resumed = make_data(prepared, tmp_path, 0, 1, micro_batch_size=12)
    resumed.start_at(first.position())
    assert [batch_digest(batch) for batch in islice(resumed.train_dataloader(), 2)] == digests[3:]
    assert batch_digest(next(iter(resumed.train_dataloader()))) == digests[0]


def test_validation_covers_the_split_exactly_once(prepared: Path, tmp_path: Path) -> None:
    one = [part for batch in make_data(prepared, tmp_path).val_dataloader() for part in batch]
    loaders = [make_data(prepared, tmp_path, rank, 2).val_dataloader() for rank in range(2)]
    assert len(loaders[0]) == len(loaders[1])
    two = [part for loader in loaders for batch in loader for part in batch]
    for name in ("num_tokens", "num_examples"):
        assert sum(getattr(part, name) for part in two) == sum(getattr(part, name) for part in one) > 0


def test_frequencies_are_counted_in_shards_of_this_machine_alone(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(prepared, tmp_path)
    tokens = data.folder.manifest.totals("train")["tokens"]
    assert data.near_token_counts(tokens).sum() == tokens
    assert data.near_token_counts(tokens // 2).sum() <= tokens // 2
    monkeypatch.setattr(data.folder, "path", "s3://bucket/data")
    monkeypatch.setattr(data.folder, "read", None)
    assert data.near_token_counts(tokens).sum() == 0


def test_waiting_is_measured_and_taken_once(prepared: Path, tmp_path: Path) -> None:
    data = make_data(prepared, tmp_path)
    assert data.take_wait_seconds() == 0.0
    loader = data.train_dataloader()

    class Slow:
        def count_ahead(self) -> None:
            pass

        def __iter__(self) -> Any:
            for item in range(2):
                time.sleep(0.02)
                yield item

    loader.stream = Slow()
    assert list(loader) == [0, 1]
    assert data.take_wait_seconds() == pytest.approx(0.04, abs=0.03)
    assert data.take_wait_seconds() == 0.0
    assert isinstance(loader, TimedLoader)


def test_epochs_are_passes_over_the_split(prepared: Path, tmp_path: Path) -> None:
    data = make_data(prepared, tmp_path)
    data.train_dataloader()
    assert data.epoch_of(0) == 0.0
    size = data._samples[0].epoch_plan(0).size
    assert data.epoch_of(size // 2) == pytest.approx(0.5, abs=0.01)


def held_out_digests(data: PretrainingData) -> list[str]:
    return [batch_digest(batch) for batch in data.val_dataloader()]


def test_validation_is_the_same_whatever_a_run_trains_on(prepared: Path, tmp_path: Path) -> None:
    """Other masks, rates, seeds and windows of the training stream leave the held-out examples as they are."""
    plain = held_out_digests(make_data(prepared, tmp_path))
    for changes in ({"masking": SpanMasking(mask_prob=0.4)}, {"seed": 7}, {"num_lanes": 2, "window_shards": 1}):
        assert held_out_digests(make_data(prepared, tmp_path, **changes)) == plain
    for held_out in (HeldOutExamples(TokenMasking(mask_prob=0.3)), HeldOutExamples(TokenMasking(), seed=1)):
        assert held_out_digests(make_data(prepared, tmp_path, held_out=held_out)) != plain


def test_validation_takes_the_pairs_of_the_run_unless_it_has_others(prepared: Path, tmp_path: Path) -> None:
    chosen = HeldOutExamples(TokenMasking(), pairs=SegmentPairs())
    runs = make_data(prepared, tmp_path, pairs=FullSentences()), make_data(prepared, tmp_path)
    (alone,) = next(iter(runs[0].val_dataloader()))[:1]
    assert list(alone.targets) == ["mlm"]
    with_pairs = make_data(prepared, tmp_path, held_out=chosen, pairs=FullSentences())
    assert held_out_digests(with_pairs) == held_out_digests(runs[1])


def test_samples_are_counted_from_the_position_in_the_stream(prepared: Path, tmp_path: Path) -> None:
    """Two steps of 24 examples, then steps of 48."""
    data = make_data(prepared, tmp_path)
    list(islice(data.train_dataloader(), 2))
    resumed = make_data(prepared, tmp_path, global_batch_size=48)
    resumed.start_at(data.position())
    list(islice(resumed.train_dataloader(), 3))
    resumed.trainer.global_step = 5
    assert [resumed.samples_after(step) for step in (2, 3, 4, 5)] == [48, 96, 144, 192]


def test_targets_of_both_streams_are_checked(prepared: Path, tmp_path: Path) -> None:
    with torch.device("meta"):
        joint, alone = MaskedLMWithNSP(CONFIG), MaskedLM(CONFIG)
    unlabeled = make_data(prepared, tmp_path, pairs=FullSentences())
    unlabeled.check_targets(alone)
    with pytest.raises(
        ValueError, match=r"but pairs=FullSentences gives mlm only; take objective=mlm, or other pairs$"
    ):
        unlabeled.check_targets(joint)
    mixed = make_data(prepared, tmp_path, held_out=HeldOutExamples(TokenMasking(), pairs=FullSentences()))
    with pytest.raises(ValueError, match=r"but validation.pairs=FullSentences gives mlm only"):
        mixed.check_targets(joint)


def test_a_causal_objective_reads_no_swapped_segments(prepared: Path, tmp_path: Path) -> None:
    with torch.device("meta"):
        causal = CausalLM(replace(CONFIG, is_causal=True))
    in_order = SentenceOrder(swap_prob=0.0)
    make_data(prepared, tmp_path, pairs=in_order).check_targets(causal)
    swapped = make_data(prepared, tmp_path, pairs=SentenceOrder())
    said = "swap_prob=0.5 swaps segments, but objective=causal_lm reads text in its order; take "
    with pytest.raises(ValueError, match=rf"^pairs\.{said}pairs\.swap_prob=0$"):
        swapped.check_targets(causal)
    swapped.check_targets(MaskedLM(CONFIG))
    held_out = HeldOutExamples(TokenMasking(), pairs=SentenceOrder())
    with pytest.raises(ValueError, match=rf"^validation\.pairs\.{said}validation\.pairs\.swap_prob=0$"):
        make_data(prepared, tmp_path, pairs=in_order, held_out=held_out).check_targets(causal)


def test_held_out_labels_know_their_bytes(prepared: Path, tmp_path: Path) -> None:
    """The bytes of the labels are those of their pieces, a space before each word included, marks left out."""
    data = make_data(prepared, tmp_path)
    (batch,) = next(iter(data.val_dataloader()))
    mlm, total = batch.targets["mlm"], 0
    for label in mlm.labels[: mlm.count].tolist():
        piece = data.tokenizer.id_to_token(label)
        total += 0 if piece == "[UNK]" else len(piece.removeprefix("##")) + (not piece.startswith("##"))
    assert mlm.num_bytes == total > 0


def test_a_share_of_less_than_one_held_out_batch_is_refused(prepared: Path, tmp_path: Path) -> None:
    data = make_data(prepared, tmp_path)
    data.trainer.is_global_zero = False
    number = len(data.val_dataloader())
    for limit in (0.0, 1.0, 1, 1.01 / number):
        data.trainer.limit_val_batches = limit
        data.setup("fit")
    data.trainer.limit_val_batches = 0.9 / number
    with pytest.raises(
        ValueError, match=rf"^trainer\.limit_val_batches=0\.\d+ is less than one of the {number} held-out"
    ):
        data.setup("fit")


def test_a_held_out_seed_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^validation\.seed must be a whole number, at least 0; got -1$"):
        HeldOutExamples(TokenMasking(), seed=-1)
