"""One run, whatever the number of ranks, the strategy and the accumulation: the same batches, the same losses."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bert_lightning.inspect_stream import inspect
from bert_lightning.metrics.metrics_log import read_columns
from tests.runs.linked import write_linked
from tests.support.many_runs import run_together
from tests.support.runs import assert_close, compose_here, run_here
from tests.support.settings import NO_DROPOUT, Settings

STEPS = {"trainer.max_steps": 6, "trainer.val_check_interval": 6, "callbacks": "audit"}
OBJECTIVES: dict[str, Settings] = {
    "mlm_nsp": {},
    "replaced_tokens": {"objective": "replaced_tokens", "pairs": "full_sentences", "masking": "electra"},
    "causal_lm": {"objective": "causal_lm", "pairs": "full_sentences", "model.is_causal": True},
    "distillation": {"objective": "distillation", "pairs": "full_sentences", "model.num_hidden_layers": 1},
    "layer_distillation": {"objective": "layer_distillation", "model.hidden_size": 16},
    "relation_distillation": {
        "objective": "relation_distillation",
        "model.hidden_size": 16,
        "objective.relation_heads": 4,
    },
    "late_masks": {"objective": "late_masks", "pairs": "full_sentences", "masking": "late"},
    "entity_denoising": {"objective": "entity_denoising"},
    "lamb": {"optimizer": "lamb"},
    "stable_adamw": {"optimizer": "stable_adamw"},
    "muon": {"optimizer": "muon", "optimizer.adamw_lr": 3e-3},
}
"""Objectives, and optimizers with the objective of BERT."""
TOLERANCES = {"muon": 1e-3}
"""Muon orthogonalizes in bf16, which rounds gradients that were summed in another order to other values."""


UNWEIGHTED: dict[str, Settings] = {
    "pairs": {"objective.nsp_weight": 0, "strategy": "ddp"},
    "sharded_pairs": {"objective.nsp_weight": 0, "strategy": "fsdp"},
    "generator": OBJECTIVES["replaced_tokens"] | {"objective.mlm_weight": 0, "strategy": "ddp"},
    "layers": OBJECTIVES["layer_distillation"]
    | {"objective.hidden_weight": 0, "objective.embedding_weight": 0, "strategy": "ddp"},
}
"""Losses of weight 0 that parameters of their own lead to, each with a strategy."""


def digests(run_dir: Path) -> list[str]:
    return (run_dir / "digests.txt").read_text().splitlines()


def with_accumulation(settings: Settings, ranks: int, accumulation: int) -> Settings:
    return settings | {"data.micro_batch_size": 32 // ranks // accumulation}


@pytest.mark.parametrize(
    ("ranks", "accumulations", "strategies"),
    [
        (2, (1, 4), [{"strategy": "ddp"}, {"strategy": "fsdp"}]),
        pytest.param(
            4,
            (1, 2, 4),
            [{"strategy": "ddp"}, {"strategy": "fsdp"}, {"strategy": "fsdp", "strategy.shard_size": 2}],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_ranks_strategies_and_accumulation_do_not_change_the_run(
    base: Settings,
    tmp_path: Path,
    ranks: int,
    accumulations: tuple[int, ...],
    strategies: list[Settings],
) -> None:
    settings = base | NO_DROPOUT | STEPS
    runs = tmp_path / "runs"
    for accumulation in (1, 2, 4):
        run_here(with_accumulation(settings, 1, accumulation) | {"run_name": f"one-{accumulation}"})
    many = {
        f"{number}-{accumulation}": with_accumulation(settings, ranks, accumulation) | strategy
        for number, strategy in enumerate(strategies)
        for accumulation in accumulations
    }
    run_together([changes | {"run_name": name} for name, changes in many.items()], ranks, tmp_path)
    stream = {"data.path": settings["data.path"], "data.cache_dir": settings["data.cache_dir"], "num_batches": 6}
    shape = {name: value for name, value in settings.items() if name.startswith(("data.seq_len", "data.global"))}
    inspect(compose_here("inspect", stream | shape | {"data.num_workers": 0, "digests": tmp_path / "expected.txt"}))
    expected = (tmp_path / "expected.txt").read_text().splitlines()
    assert len(expected) == 6
    assert len(set(expected)) == 6
    for name in ["one-1", "one-2", "one-4", *many]:
        assert digests(runs / name) == expected, name
        assert_close(runs / name, runs / "one-1")


@pytest.mark.slow
def test_a_loss_of_weight_0_holds_no_rank_up(base: Settings, tmp_path: Path) -> None:
    """Strategies wait for a gradient of every parameter; gradients are averaged as in one process."""
    settings = base | NO_DROPOUT | STEPS | {"trainer.max_steps": 3, "trainer.val_check_interval": 3}
    runs = tmp_path / "runs"
    run_here(settings | {"run_name": "teacher", "trainer.max_steps": 1, "trainer.val_check_interval": 1})
    many = {
        name: settings
        | changes
        | ({"objective.teacher": runs / "teacher"} if changes.get("objective") == "layer_distillation" else {})
        for name, changes in UNWEIGHTED.items()
    }
    for name, changes in many.items():
        run_here(changes | {"strategy": "single", "run_name": f"one-{name}"})
    run_together(
        [changes | {"run_name": name, "data.micro_batch_size": 8} for name, changes in many.items()], 2, tmp_path
    )
    for name in many:
        assert digests(runs / name) == digests(runs / f"one-{name}")
        assert_close(runs / name, runs / f"one-{name}")


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_goes_on_under_other_strategies_and_sizes(
    base: Settings, tokenizer: Tokenizer, tmp_path: Path, objective: str
) -> None:
    """1 -> 2 (DDP) -> 2 (FSDP2) -> 2 (DDP) -> 4 (FSDP2) -> 4 (DDP) -> 1, two steps each."""
    settings = (
        base
        | NO_DROPOUT
        | OBJECTIVES[objective]
        | {"callbacks": "audit", "schedule": "constant", "data.micro_batch_size": 4}
    )
    settings |= {
        "trainer.log_every_n_steps": 1,
        "trainer.val_check_interval": 2,
        "callbacks.checkpoint.every_n_steps": 2,
    }
    if objective.endswith("distillation"):
        run_here(base | {"run_name": "teacher", "trainer.max_steps": 2})
        settings |= {"objective.teacher": tmp_path / "runs" / "teacher"}
    if objective == "entity_denoising":
        settings |= {"data.path": write_linked(tmp_path / "linked", tokenizer)}
    run_here(settings | {"run_name": "whole", "trainer.max_steps": 14})
    chain = settings | {"run_name": "chain", "resume": "auto"}

    def until(step: int, strategy: str) -> Settings:
        return chain | {"trainer.max_steps": step, "strategy": strategy}

    run_here(until(2, "single"))
    run_together([until(4, "ddp"), until(6, "fsdp"), until(8, "ddp")], 2, tmp_path)
    run_together([until(10, "fsdp"), until(12, "ddp")], 4, tmp_path)
    assert run_here(until(14, "single")).global_step == 14
    runs = tmp_path / "runs"
    assert digests(runs / "chain") == digests(runs / "whole")
    assert len(digests(runs / "chain")) == 14
    assert_close(runs / "chain", runs / "whole", TOLERANCES.get(objective, 1e-5))
    assert read_columns(runs / "chain" / "metrics.csv")["train/loss"][0] == list(range(1, 15))
