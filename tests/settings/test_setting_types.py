"""Every shipped config passes; a value of a wrong kind is refused by its name before anything is written."""

import doctest
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bert_lightning.settings import setting_types
from bert_lightning.settings.conf_files import CONF_DIR
from bert_lightning.settings.setting_types import check_types
from tests.support.configs import compose_config
from tests.support.runs import run_here
from tests.support.settings import Settings

GROUPS = (
    "callbacks",
    "masking",
    "objective",
    "optimizer",
    "pairs",
    "schedule",
    "strategy",
    "trainer",
    "logger",
    "model",
)
CHOICES = [f"{group}={path.stem}" for group in GROUPS for path in sorted((Path(CONF_DIR) / group).glob("*.yaml"))]


def test_examples() -> None:
    assert doctest.testmod(setting_types).failed == 0


@pytest.mark.parametrize("choice", CHOICES)
def test_every_shipped_config_passes(choice: str) -> None:
    cfg = compose_config("pretrain", ["data.path=x", choice])
    check_types(cfg)


@pytest.mark.parametrize(
    ("key", "value", "must_be"),
    [
        ("optimizer.lr", "abc", "a number"),
        ("optimizer.betas", "[0.9]", "a list of 2"),
        ("optimizer.fused", "7", "true or false or null"),
        ("schedule.final", "abc", "a number"),
        ("schedule.warmup_steps", "abc", "a number"),
        ("callbacks.guesses.top_k", "x", "a whole number"),
        ("callbacks.checkpoint.every_n_steps", "x", "a whole number"),
        ("callbacks.checkpoint.keep_last", "1.5", "a whole number or null"),
        ("callbacks.watchdog.silent_seconds", "x", "a number"),
        ("callbacks.throughput.peak_flops", "x", "a number or null"),
        ("callbacks.guesses", "7", "a group, or null to leave it out"),
        ("logger.csv", "x", "a group, or null to leave it out"),
        ("model.hidden_size", "1.5", "a whole number"),
        ("objective.mlm_weight", "x", "a number"),
        ("trainer.deterministic", "x", "true or false or warn or null"),
        ("gradient_clip_val", "x", "a number above 0, or null"),
        ("gradient_clip_val", "-1", "a number above 0, or null"),
        ("gradient_clip_val", "true", "a number above 0, or null"),
        ("max_skipped_steps", "0", "a whole number, at least 1"),
        ("activation_checkpointing", "x", "true or false"),
        ("data.path", "null", "a folder"),
        ("data.global_batch_size", "null", "a whole number, at least 1"),
        ("optimizer.lr", "null", "a number"),
        ("schedule.warmup_steps", "null", "a number"),
        ("masking.mask_prob", "null", "a number"),
        ("objective.mlm_weight", "null", "a number"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(
    base: Settings,
    tmp_path: Path,
    key: str,
    value: str,
    must_be: str,
) -> None:
    with pytest.raises(ValueError, match=r"must be") as raised:
        run_here(base | {key: value})
    shown = {"null": "None", "true": "True"}.get(value, value)
    assert str(raised.value).startswith(f"{key} must be {must_be}")
    assert str(raised.value).endswith(f"; got {shown}")
    assert not (tmp_path / "runs").exists()


def test_a_setting_that_its_group_does_not_have_is_refused_by_name(base: Settings, tmp_path: Path) -> None:
    """Such as the betas of AdamW, which an experiment has set, with another optimizer."""
    with pytest.raises(
        ValueError, match=r"^optimizer\.betas=\[0\.9, 0\.98\] is no setting of .*muon; .*: lr, adamw_lr"
    ):
        run_here(base | {"optimizer": "muon", "+optimizer.betas": "[0.9,0.98]"})
    assert not (tmp_path / "runs").exists()


def test_what_is_not_annotated_passes() -> None:
    check_types(
        OmegaConf.create({"a": {"_target_": "no.such.thing", "b": 1}, "c": {"_target_": "math.sqrt", "x": "y"}})
    )
