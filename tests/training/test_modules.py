"""One step: the same gradient however a global batch is cut, exact sums, skips that leave no trace, keyed noise."""

import copy
import doctest
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.training import modules
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.validation_stream import samples_by_source
from tests.support.corpora import prepare_two_sources
from tests.support.parity import losses
from tests.support.training import Breaking, fit, make_module, make_objective


def test_examples() -> None:
    assert doctest.testmod(modules).failed == 0


def weights_after(prepared: Path, folder: Path, micro: int, **changes: Any) -> dict[str, torch.Tensor]:
    """Weights after 3 plain SGD steps, which add up the gradients."""
    optimizer = partial(torch.optim.SGD, lr=1.0)
    module = make_module(make_objective(prepared), 3, optimizer, gradient_clip_val=None, **changes)
    fit(module, prepared, folder, 3, micro, limit_val_batches=0)
    return module.objective.state_dict()


def test_the_gradient_does_not_depend_on_the_micro_batches(prepared: Path, tmp_path: Path) -> None:
    whole = weights_after(prepared, tmp_path / "32", 32)
    before = make_objective(prepared).state_dict()
    assert max((whole[name] - before[name]).abs().max() for name in whole) > 0.01
    for micro in (16, 8, 4):
        parts = weights_after(prepared, tmp_path / str(micro), micro)
        for name, value in whole.items():
            assert torch.allclose(value, parts[name], atol=1e-6), (micro, name)


def test_the_first_gradient_is_that_of_the_mean_loss(prepared: Path, tmp_path: Path) -> None:
    objective = make_objective(prepared)
    reference = copy.deepcopy(objective)
    module = make_module(objective, 1, partial(torch.optim.SGD, lr=1.0), gradient_clip_val=None)
    trainer = fit(module, prepared, tmp_path, 1, 8, limit_val_batches=0)
    stream = trainer.datamodule.train_dataloader()
    batch = next(iter(stream))
    outputs = [losses(reference, part) for part in batch]
    masked, pairs = sum(part.targets["mlm"].count for part in batch), sum(part.targets["nsp"].count for part in batch)
    mlm, nsp = (sum(output[name] for output in outputs) for name in ("mlm_loss", "nsp_loss"))
    loss = mlm / masked + nsp / pairs
    loss.backward()
    for (name, before), after in zip(reference.named_parameters(), objective.parameters(), strict=True):
        assert torch.allclose(before - before.grad, after, atol=1e-6), name
    logged = read_columns(tmp_path / "metrics.csv")
    assert logged["train/loss"][1][0] == pytest.approx(loss.item(), rel=1e-5)
    norm = torch.nn.utils.get_total_norm([p.grad for p in reference.parameters()]).item()
    assert logged["optim/grad_norm"][1][0] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("fused", [True, False])
def test_a_loss_that_is_not_finite_skips_the_step_and_is_counted(
    prepared: Path, tmp_path: Path, bad: float, fused: bool
) -> None:
    objective = Breaking(make_objective(prepared), {6}, bad)  # second of four micro-batches of the second step
    module = make_module(objective, 2, partial(torch.optim.AdamW, lr=1e-2, fused=fused))
    trainer = fit(module, prepared, tmp_path, 2, 8, limit_val_batches=0)
    once = make_module(make_objective(prepared), 1, partial(torch.optim.AdamW, lr=1e-2, fused=fused))
    fit(once, prepared, tmp_path / "once", 1, 8, limit_val_batches=0)
    assert trainer.global_step == 2
    for name, value in once.objective.state_dict().items():
        assert torch.equal(value, objective.inner.state_dict()[name]), name
    columns = read_columns(tmp_path / "metrics.csv")
    assert columns["train/skipped_steps"] == ([1, 2], [0.0, 1.0])


def test_too_many_skipped_steps_in_a_row_stop_the_run(prepared: Path, tmp_path: Path) -> None:
    objective = Breaking(make_objective(prepared), set(range(3, 100)), float("nan"))
    module = make_module(objective, 20, max_skipped_steps=4, log_every_n_steps=4)
    with pytest.raises(ValueError, match=r"not finite in steps 3 to 8 \(max_skipped_steps=4\)"):
        fit(module, prepared, tmp_path, 20, 32, limit_val_batches=0)


def test_the_held_out_losses_of_each_source_are_told_apart(tmp_path: Path) -> None:
    """The losses of the sources, weighted with their predictions, are that of the split; a sample has both sources."""
    folder = prepare_two_sources(tmp_path)
    objective = make_objective(folder)
    module = make_module(objective, 2, partial(torch.optim.SGD, lr=0.0), log_every_n_steps=1)
    trainer = fit(module, folder, tmp_path, 2, 8)
    loader = trainer.datamodule.val_dataloader()
    objective.eval()
    losses_of: dict[str, list[float]] = {"many": [0.0, 0], "few": [0.0, 0]}
    examples = Counter[str]()
    for item, batches in enumerate(loader):
        for part in batches:
            sums = losses_of[loader.source_of(item)]
            sums[0] += losses(objective, part)["mlm_loss"].item()
            sums[1] += objective.counts(part)["mlm_loss"]
            examples[loader.source_of(item)] += part.num_examples
    columns = read_columns(tmp_path / "metrics.csv")
    for source, (total, count) in losses_of.items():
        assert columns[f"val/mlm_loss/{source}"] == ([2], [pytest.approx(total / count, rel=1e-5)])
    total, count = (sum(each) for each in zip(*losses_of.values(), strict=True))
    assert columns["val/mlm_loss"] == ([2], [pytest.approx(total / count, rel=1e-5)])
    assert examples["many"] > 2 * examples["few"] > 0
    trainer.datamodule._validation_samples = 6
    some = trainer.datamodule.val_dataloader()
    seen = Counter({some.source_of(item): 0 for item in range(len(some))})
    for item, batches in enumerate(some):
        seen[some.source_of(item)] += sum(part.num_examples for part in batches)
    assert seen["many"] > seen["few"] > 0
    assert 5 <= sum(seen.values()) <= 7


def test_random_second_segments_come_from_all_sources(tmp_path: Path) -> None:
    """As in training; and the examples of all sources are those of the split, so bert-evaluate measures the same."""
    folder = prepare_two_sources(tmp_path)
    pairs = SegmentPairs(random_next_prob=0.9)
    samples = PretrainingSamples(folder, "validation", pairs, TokenMasking(), 32, 0, shuffle=False)
    by_source = samples_by_source(samples)
    assert np.array_equal(np.sort(np.concatenate(list(by_source.values()))), np.arange(samples.epoch_plan(0).size))
    first_source, second_source = by_source
    boundary = sum(entry.tokens for entry in samples.entries if entry.source == first_source)
    for source, numbers in by_source.items():
        spans = samples.find(numbers, samples.locate(numbers)).spans
        is_second = spans.start >= boundary  # (examples, 2)
        assert (is_second[:, 0] == (source == second_source)).all()
        assert len(set(is_second[spans.labels == 1, 1].tolist())) == 2


def test_windows_and_validation_are_exact_means(prepared: Path, tmp_path: Path) -> None:
    """With a learning rate of 0 every step sees the same weights, so sums can be made again."""
    objective = make_objective(prepared)
    module = make_module(objective, 5, partial(torch.optim.SGD, lr=0.0), log_every_n_steps=3)
    trainer = fit(module, prepared, tmp_path, 5, 8)
    steps = [next(batches) for batches in [iter(trainer.datamodule.train_dataloader())] for _ in range(5)]
    objective.eval()

    def mean(batches: list[list[PackedBatch]], name: str) -> float:
        parts = [part for batch in batches for part in batch]
        total = sum(losses(objective, part)[name].item() for part in parts)
        return total / sum(objective.counts(part)[name] for part in parts)

    columns = read_columns(tmp_path / "metrics.csv")
    for name in ("mlm_loss", "nsp_loss"):
        windows = [mean(steps[:3], name), mean(steps[3:], name)]
        assert columns[f"train/{name}"][0] == [3, 5]
        assert columns[f"train/{name}"][1] == pytest.approx(windows, rel=1e-5)
        held_out = mean(list(trainer.datamodule.val_dataloader()), name)
        assert columns[f"val/{name}"] == ([5], [pytest.approx(held_out, rel=1e-5)])
    assert columns["train/perplexity"][1][0] == pytest.approx(
        torch.tensor(columns["train/mlm_loss"][1][0]).exp().item()
    )


def test_dropout_depends_on_the_step_alone(prepared: Path, tmp_path: Path) -> None:
    """Random numbers drawn elsewhere in between change nothing."""

    class Drawing(L.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            torch.rand(7)

    results = []
    for callbacks in ([], [Drawing()]):
        module = make_module(make_objective(prepared, dropout=0.2), 4)
        fit(module, prepared, tmp_path / str(len(callbacks)), 4, 8, callbacks=callbacks, limit_val_batches=0)
        results.append(module.objective.state_dict())
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_the_learning_rate_follows_the_schedule(prepared: Path, tmp_path: Path) -> None:
    module = make_module(make_objective(prepared), 4)
    module._schedule = lambda step: (step + 1) / 4
    fit(module, prepared, tmp_path, 4, 32, limit_val_batches=0)
    assert read_columns(tmp_path / "metrics.csv")["optim/lr"][1] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
