"""Every option of a strategy trains the same model as one process does; what cannot work is refused."""

from pathlib import Path

import pytest
import torch

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.execution.strategies import FullyShardedStrategy, ReplicatedStrategy, ranks_of_one_copy
from bert_lightning.metrics.metrics_log import read_columns
from tests.support.many_runs import run_together
from tests.support.runs import assert_close, run_here
from tests.support.settings import NO_DROPOUT, Settings

BRIEF = {"trainer.max_steps": 6, "trainer.val_check_interval": 6, "data.micro_batch_size": 8}
OPTIONS: dict[str, Settings] = {
    "static_graph": {"strategy": "ddp", "strategy.static_graph": True},
    "copied_gradients": {"strategy": "ddp", "strategy.gradient_as_bucket_view": False},
    "ddp_recomputed": {"strategy": "ddp", "activation_checkpointing": True},
    "kept": {"strategy": "fsdp", "strategy.reshard_after_forward": False},
    "saved_meanwhile": {"strategy": "fsdp", "strategy.async_save": True, "callbacks.checkpoint.every_n_steps": 1},
    "fsdp_recomputed": {"strategy": "fsdp", "activation_checkpointing": True},
}
ROUNDED: dict[str, Settings] = {
    "compressed": {"strategy": "ddp", "strategy.gradient_compression": "bf16"},
    "gathered_in_bf16": {"strategy": "fsdp", "strategy.param_dtype": "bfloat16", "trainer.precision": "bf16-mixed"},
}


@pytest.mark.slow
def test_options_do_not_change_what_is_computed(base: Settings, tmp_path: Path) -> None:
    """fp32 to 1e-5; those that round to bf16 on purpose are near, and not the same."""
    settings = base | NO_DROPOUT | BRIEF
    run_here(settings | {"run_name": "one"})
    runs = tmp_path / "runs"
    run_together(
        [settings | options | {"run_name": name} for name, options in (OPTIONS | ROUNDED).items()], 2, tmp_path
    )
    for name in OPTIONS:
        assert_close(runs / name, runs / "one")
    kept, meanwhile = (load_pretrained(runs / name).state for name in ("kept", "saved_meanwhile"))
    assert all(torch.equal(kept[name], meanwhile[name]) for name in kept)
    assert [path.name for path in sorted((runs / "saved_meanwhile" / "checkpoints").iterdir())][-1:] == [
        "step-0000006.ckpt"
    ]
    exact = read_columns(runs / "one" / "metrics.csv")["train/loss"][1]
    for name in ROUNDED:
        rounded = read_columns(runs / name / "metrics.csv")["train/loss"][1]
        assert rounded == pytest.approx(exact, rel=0.01)
        assert rounded != pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "fsdp"}, "strategy=fsdp splits the model over processes, but there is one"),
        (
            {"strategy": "fsdp", "trainer.devices": 2, "strategy.param_dtype": "bfloat16"},
            "strategy.param_dtype=bfloat16 needs trainer.precision=bf16-mixed, not 32-true",
        ),
        (
            {"strategy": "fsdp", "trainer.devices": 4, "strategy.shard_size": 3},
            "strategy.shard_size=3 must be null, node, or a number from 2 that divides the 4 processes",
        ),
    ],
)
def test_sharding_that_does_not_fit_is_refused(
    base: Settings,
    tmp_path: Path,
    changes: Settings,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        run_here(base | changes)
    assert not (tmp_path / "runs").exists()


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"strategy.gradient_compression=fp4 is none of none, bf16"):
        ReplicatedStrategy("fp4")
    with pytest.raises(ValueError, match=r"strategy.param_dtype=float8 is neither"):
        FullyShardedStrategy(param_dtype="float8")
    for strategy in (ReplicatedStrategy, FullyShardedStrategy):
        with pytest.raises(ValueError, match=r"strategy.timeout_seconds=0 must be"):
            strategy(timeout_seconds=0)


def test_one_copy_for_every_node() -> None:
    assert ranks_of_one_copy("node", 4, 2) == 4
    for size in (1, 0, 5, "nodes", 2.0):
        with pytest.raises(ValueError, match=f"strategy.shard_size={size}"):
            ranks_of_one_copy(size, 4, 2)  # type: ignore[arg-type]
