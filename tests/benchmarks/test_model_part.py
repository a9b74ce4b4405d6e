"""The model part of bert-benchmark: it runs as a user runs it, both sides do the same work, and counts are exact."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bert_lightning.benchmark import benchmark, resolved
from bert_lightning.benchmarks.contestants import Contestant, Ours, ours
from bert_lightning.benchmarks.loader_run import loader_run
from bert_lightning.benchmarks.model_batches import ExampleSource, LengthMixture, pad_rows, synthetic_batches
from bert_lightning.benchmarks.model_part import ModelPart
from bert_lightning.benchmarks.model_tables import Work, batch_flops, losses, ratios, speeds
from bert_lightning.benchmarks.padding_free import padding_free
from bert_lightning.benchmarks.step_speed import Runner, race
from bert_lightning.benchmarks.transformers_berts import huggingface
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.objective import Objective
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.pairs.sentence_order import SentenceOrder
from data_pipeline.pairs.sentence_runs import FullSentences
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import MLM
from data_pipeline.streams.packed_shape import PackedShape
from tests.support.checkout import run_command
from tests.support.configs import compose_config
from tests.support.contestants import HALF, SETTING, made_up
from tests.support.parity import CONFIG, packed_examples, padded


def both_sides() -> list[Contestant]:
    own = ours(SETTING)
    return [own, huggingface(SETTING, own.model.state_dict(), is_compiled=False, is_full_row=False)]


def test_the_command_measures_and_writes_everything(prepared: Path, tmp_path: Path) -> None:
    done = run_command(
        "benchmark",
        "model=bert_tiny",
        "model.hidden_size=32",
        "data.seq_len=32",
        "data.micro_batch_size=4",
        "data.num_workers=1",
        f"data.path={prepared}",
        "precision=bf16-mixed",
        "baseline=hf_eager",
        "part.repeats=3",
        "part.num_batches=2",
        "output=figures.json",
        "chart=chart.png",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "figures.json").read_text())
    speed, pairs, losses, loader, facts = found["tables"].values()
    assert [row["who"] for row in speed] == ["ours", "transformers, eager"]
    for row in speed:
        assert row["real tokens/s"] > 0
        assert row["lowest ms"] <= row["step ms"] <= row["highest ms"]
        assert row["MFU % of the measured peak"] > 0
        assert row["peak memory GB"] > 0
        assert row["compiled graphs"] == row["recompiled later"] == 0
    assert [row["pairs"] for row in pairs] == [3]
    assert pairs[0]["lowest"] <= pairs[0]["median"] <= pairs[0]["highest"]
    assert abs(losses[0]["before"] - losses[1]["before"]) < 0.01
    assert losses[0]["after"] < losses[0]["before"]
    assert loader[0]["real tokens/s"] > 0
    assert 0 <= loader[0]["data wait %"] <= 100
    named = {row["fact"]: row["value"] for row in facts}
    assert named["examples"].startswith(str(prepared))
    assert named["measured peak of a matrix product, TFLOP/s"] > 0


def test_losses_stay_together_where_there_is_no_dropout() -> None:
    """The same weights, batches, clipping and optimizer: after a few steps both have the same loss."""
    own, theirs = race(both_sides(), made_up(), repeats=6, steps=1)
    assert own.num_steps == theirs.num_steps == 3 + 1 + 6
    assert own.losses == pytest.approx(theirs.losses, abs=1e-4)
    assert own.losses[1] < own.losses[0] - 0.1


@pytest.mark.parametrize(
    ("objective", "pairs"),
    [
        (MaskedLM, FullSentences()),
        (MaskedLM, SegmentPairs()),
        (MaskedLMWithNSP, SegmentPairs()),
        (MaskedLMWithSOP, SentenceOrder()),
    ],
)
def test_every_objective_meets_the_same_model_of_transformers(objective: type[Objective], pairs: PairFormat) -> None:
    setting = replace(SETTING, make_objective=objective)
    source = ExampleSource(None, pairs, TokenMasking(), HALF, 40, 8, CONFIG.vocab_size, 0)
    source.check_targets(setting.shapes_only())
    candidate = ours(setting)
    state = candidate.model.state_dict()
    rival = huggingface(setting, state, is_compiled=False, is_full_row=False)
    our_side, theirs = race([candidate, rival], source.batches(2), repeats=4, steps=1)
    assert our_side.losses == pytest.approx(theirs.losses, abs=1e-4)
    assert our_side.losses[1] < our_side.losses[0] - 0.1


@pytest.mark.parametrize("is_real", [False, True])
def test_graphs_for_fixed_shapes_are_measured_on_the_shapes_of_a_run(prepared: Path, is_real: bool) -> None:
    path = str(prepared) if is_real else None
    source = ExampleSource(path, SegmentPairs(), TokenMasking(), HALF, 40, 8, CONFIG.vocab_size, 0)
    shapes = [
        {(len(batch.tokens.input_ids), len(batch.targets[MLM].labels)) for batch in source.batches(12, num_shapes)}
        for num_shapes in (None, 3)
    ]
    assert len(shapes[1]) <= 3 < len(shapes[0])


def test_gradients_that_are_kept_change_no_step() -> None:
    usual, kept = (ours(SETTING) for _ in range(2))
    kept = Ours("kept", kept.model, SETTING.make_optimizer, False, keeps_gradients=True)
    for batch in made_up(2):
        for contestant in (usual, kept):
            torch.manual_seed(0)
            contestant.step(contestant.prepare(batch))
    assert all(parameter.grad is not None for parameter in kept.model.parameters())
    for one, other in zip(usual.model.parameters(), kept.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_examples_without_the_labels_of_the_objective_are_refused() -> None:
    setting = replace(SETTING, make_objective=MaskedLMWithSOP)
    source = ExampleSource(None, SegmentPairs(), TokenMasking(), HALF, 40, 8, CONFIG.vocab_size, 0)
    with pytest.raises(ValueError, match=r"objective=mlm_sop needs sop labels, but pairs=SegmentPairs"):
        ModelPart(setting, source)


class TokenTags(MaskedLM):
    """Another objective than those of transformers' BERT."""


def test_an_objective_that_transformers_does_not_have_is_refused_unless_it_runs_alone() -> None:
    setting = replace(SETTING, make_objective=TokenTags)
    source = ExampleSource(None, SegmentPairs(), TokenMasking(), HALF, 40, 8, CONFIG.vocab_size, 0)
    with pytest.raises(
        ValueError, match=r"objective=test_model_part is none of those .*, mlm, mlm_nsp, mlm_sop; take baseline=none"
    ):
        ModelPart(setting, source)
    assert ModelPart(setting, source, baseline="none").baseline == "none"


def test_compiled_transformers_is_counted_and_does_not_compile_again() -> None:
    own = ours(SETTING)
    model = huggingface(SETTING, own.model.state_dict(), is_compiled=True, is_full_row=True)
    seen: list[int] = []
    torch._dynamo.reset()
    model.model.compile(backend=lambda graph, inputs: seen.append(1) or graph.forward)
    (runner,) = race([model], made_up(), repeats=3, steps=1)
    assert runner.num_compiled[0] >= 1
    assert runner.num_compiled == [len(seen), 0]


def test_rows_are_padded_as_in_the_parity_tests() -> None:
    batch = packed_examples()
    for name, tensor in vars(padded(batch)).items():
        assert torch.equal(pad_rows(batch)[name], tensor), name
    assert pad_rows(batch, 40)["input_ids"].shape == (batch.num_examples, 40)


@pytest.mark.parametrize("mixture", [HALF, LengthMixture(1.0, 1.0), LengthMixture(0.5, 0.0)])
def test_made_up_lengths_have_the_stated_mean(mixture: LengthMixture) -> None:
    lengths = mixture.lengths(4000, 512)
    assert lengths.mean() / 512 == pytest.approx(mixture.mean_share, abs=0.001)
    assert (lengths == 512).mean() == pytest.approx(mixture.full_share, abs=0.002)
    assert lengths.min() >= 8
    assert lengths.max() <= 512


def test_an_objective_with_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="objective must be one without a teacher for bert-benchmark"):
        resolved(compose_config("benchmark", ["objective=distillation"]))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lengths.mean_share=x", r"^lengths\.mean_share must be a number; got x$"),
        ("optimizer.lr=x", r"^optimizer\.lr must be a number; got x$"),
        ("seed=x", r"^seed must be a whole number, at least 0; got x$"),
    ],
)
def test_settings_of_another_type_are_refused_by_name(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark(compose_config("benchmark", [word]))


def test_lengths_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"part\.lengths\.mean_share=0\.9 .* data\.seq_len=512"):
        LengthMixture(0.9, 0.1).lengths(100, 512)


def test_made_up_batches_hold_pairs_of_those_lengths() -> None:
    batches = made_up()
    lengths = [length for batch in batches for length in batch.tokens.cu_seqlens.diff()[: batch.num_examples].tolist()]
    assert sorted(lengths) == HALF.lengths(24, 40).tolist()
    for batch in batches:
        assert batch.num_examples == batch.targets["nsp"].count == 8
        first = batch.tokens.input_ids[batch.targets["nsp"].positions.long()]
        assert (first == 2).all()
        assert 0.1 < batch.targets["mlm"].count / batch.num_tokens < 0.2
        assert (batch.targets["mlm"].labels[: batch.targets["mlm"].count] != NO_LABEL).all()
        assert batch.tokens.input_ids.max() < CONFIG.vocab_size
    common = torch.cat([batch.tokens.input_ids for batch in batches]).bincount(minlength=CONFIG.vocab_size)[5:]
    assert common[:10].sum() > 3 * common[-10:].sum()


def test_useful_work_is_the_closed_form() -> None:
    config = EncoderConfig(
        vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    (batch,) = synthetic_batches(LengthMixture(1.0, 1.0), 1, PackedShape(4, 32), 1000, TokenMasking(), 0)
    weights = 2 * (4 * 64 * 64 + 2 * 64 * 128)
    attention = 12 * 2 * 64 * 4 * 32 * 32
    head = 6 * (64 * 64 + 64 * 1000) * batch.targets["mlm"].count
    assert batch_flops(config, batch) == 6 * weights * 4 * 32 + attention + head


def test_rates_are_medians_over_turns_of_what_each_turn_did() -> None:
    batches = made_up()
    work = Work.of(CONFIG, batches, repeats=3, steps=2)
    tokens = [batch.num_tokens for batch in batches]
    assert work.tokens == [tokens[0] + tokens[1], tokens[2] + tokens[0], tokens[1] + tokens[2]]
    assert work.examples == [16, 16, 16]
    runner = Runner(None, [], seconds=[1.0, 2.0, 4.0])  # type: ignore[arg-type]
    assert work.per_second(work.tokens, runner, 2) == np.median(np.array(work.tokens) / [2.0, 4.0, 8.0])


@pytest.mark.parametrize("name", ["num_batches", "repeats", "steps"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"part\.{name} must be a whole number, at least 1; got 0"):
        ModelPart(SETTING, None, **{name: 0})  # type: ignore[arg-type]


def test_the_run_with_the_loader_counts_what_it_is_given() -> None:
    own, batches = ours(SETTING), made_up(5)
    table = loader_run(own, ([batch] for batch in batches), 3)
    assert table.rows[0][0] == 3
    assert table.rows[0][2] < 100


def test_the_padding_free_path_computes_the_masked_loss_of_the_padded_rows() -> None:
    """One batch, flattened on one side and padded on the other, with the same weights: the same mean over tokens."""
    own = ours(SETTING)
    state = own.model.state_dict()
    flat, rows = padding_free(SETTING, state), huggingface(SETTING, state, is_compiled=False, is_full_row=False)
    (batch,) = made_up(1)
    padded_rows = rows.prepare(batch)
    with torch.no_grad():
        scores = rows.model.eval()(**{k: v for k, v in padded_rows.items() if "label" not in k}).prediction_logits
    expected = torch.nn.functional.cross_entropy(scores.flatten(0, 1), padded_rows["labels"].flatten())
    segments = padded_rows["token_type_ids"].bool()
    assert segments.any()
    own_ids = flat.prepare(batch)
    assert own_ids["input_ids"].shape == (1, batch.num_tokens)
    own_ids["token_type_ids"] = padded_rows["token_type_ids"][padded_rows["attention_mask"].bool()].unsqueeze(0)
    assert flat.evaluate(own_ids) == pytest.approx(expected.item(), abs=1e-5)


def test_the_padding_free_path_learns() -> None:
    own = ours(SETTING)
    _, flat = race([own, padding_free(SETTING, own.model.state_dict())], made_up(), repeats=6, steps=1)
    assert flat.num_steps == 3 + 1 + 6
    assert flat.losses[1] < flat.losses[0] - 0.1


@pytest.mark.parametrize("failing", [0, 1])
def test_a_contestant_without_memory_leaves_the_race_and_the_others_go_on(failing: int) -> None:
    sides = both_sides()
    plain, calls = sides[failing].loss, []

    def loss(inputs: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(inputs)

    sides[failing].loss = loss  # type: ignore[method-assign]
    runners = race(sides, made_up(), repeats=3, steps=1)
    left, other = runners[failing], runners[1 - failing]
    assert (left.failure, other.failure) == ("out of memory", "")
    assert len(calls) == 4
    assert all(parameter.is_meta for parameter in left.contestant.model.parameters())
    assert not left.contestant.optimizer.state
    assert len(other.seconds) == 3
    assert other.losses[1] < other.losses[0]
    work = Work.of(CONFIG, made_up(), 3, 1)
    rows = {row[0]: row[1:] for row in speeds(runners, work, 1, 1e12, None).rows}
    assert set(rows[left.name]) == {None}
    assert rows[other.name][0] > 0
    assert ratios(runners).rows == []
    assert losses(runners).rows[failing][1:3] == (None, None)
