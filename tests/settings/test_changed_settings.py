"""A changed setting is said once with both values, or refused; what a checkpoint holds may be anything."""

from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings.changed_settings import changed_settings
from tests.support.configs import compose_config

ARGUMENTS = ["data.path=data", "run_name=a", "model=bert_tiny"]


def saved(*arguments: str) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(present(*arguments), resolve=True)
    return plain


def present(*arguments: str) -> DictConfig:
    return compose_config("pretrain", [*ARGUMENTS, *arguments])


def lines(before: Any, *arguments: str) -> list[str]:
    return [str(change) for change in changed_settings(before, present(*arguments), "checkpoint=x")]


def test_nothing_has_changed_if_only_the_name_and_the_folder_of_the_run_have() -> None:
    assert lines(saved()) == []
    assert lines(saved("logger=csv"), "logger=csv", "run_name=b", "output_dir=/elsewhere", "resume=auto") == []
    assert lines(saved("callbacks=profile"), "callbacks=profile", "run_name=b") == []
    assert lines({}, "seed=4") == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["optimizer.weight_decay=0.5"], ["optimizer.weight_decay was 0.01, is 0.5"]),
        (["optimizer.betas=[0.9,0.98]"], ["optimizer.betas was [0.9, 0.999], is [0.9, 0.98]"]),
        (["gradient_clip_val=null"], ["gradient_clip_val was 1.0, is null"]),
        (["optimizer.fused=false"], ["optimizer.fused was true, is false"]),
        (["+optimizer.maximize=true"], ["optimizer.maximize was not set, is true"]),
        (["trainer.max_steps=7"], ["trainer.max_steps was 100000, is 7"]),  # schedule.max_steps follows it
        (["schedule.max_steps=7"], ["schedule.max_steps was 100000, is 7"]),
        (
            ["model.initializer_range=0.5"],
            ["model.initializer_range was 0.02, is 0.5 (no effect: the weights are those of the checkpoint)"],
        ),
        (
            ["model.initialization=neighbors"],
            ["model.initialization was bert, is neighbors (no effect: the weights are those of the checkpoint)"],
        ),
        (["init_from=x"], ["init_from was null, is x (no effect: the weights are those of the checkpoint)"]),
        (
            ["data.global_batch_size=512"],
            ["data.global_batch_size was 256, is 512 (the order of the examples stays, the batches differ)"],
        ),
        (["logger=csv"], ["logger.wandb was bert_lightning.metrics.wandb_run.WandbMetrics, is not set"]),
        (
            ["schedule=polynomial"],
            [
                "schedule._target_ was bert_lightning.training.schedules.linear, "
                "is bert_lightning.training.schedules.polynomial",
                "schedule.power was not set, is 0.5",
            ],
        ),
    ],
)
def test_every_change_is_one_line_with_both_values(arguments: list[str], expected: list[str]) -> None:
    assert lines(saved(), *arguments) == expected


def test_phases_are_compared_setting_by_setting() -> None:
    """The data group follows the last phase, and is not named besides it."""
    before = saved("phases=[{steps:5,seq_len:32},{steps:5,seq_len:64}]")
    assert lines(before, "phases=[{steps:5,seq_len:32},{steps:5,seq_len:64}]") == []
    changed = lines(before, "phases=[{steps:5,seq_len:32},{steps:7,seq_len:128}]", "data.seq_len=256")
    assert changed == ["phases[1].steps was 5, is 7", "phases[1].seq_len was 64, is 128"]
    assert lines(before) == ["phases was [{'seq_len': 32, 'steps': 5}, {'seq_len': 64, 'steps': 5}], is null"]


def test_a_setting_that_follows_another_again_is_said() -> None:
    assert lines(saved("schedule.max_steps=7")) == ["schedule.max_steps was 7, is 100000"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["optimizer._target_=torch.optim.SGD"], "optimizer._target_ was torch.optim.AdamW, is torch.optim.SGD, but"),
        (
            ["+optimizer.amsgrad=true"],
            "optimizer.amsgrad was not set, is true, but the checkpoint has the moments for the other",
        ),
    ],
)
def test_what_the_moments_do_not_fit_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=f"^checkpoint=x: {said}"):
        lines(saved(), *arguments)


def test_what_a_stranger_has_written_is_said_in_one_harmless_line() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    strange = {
        "seed": torch.zeros(2),
        "gradient_clip_val": {"\x1b[2J": 1},
        "trainer": deep,
        "optimizer": saved()["optimizer"] | {"betas": [torch.zeros(2), 1], "\x1b[2J": "\n", "eps": 10**4000},
    }
    found = lines(saved() | strange)
    assert [line.split(" was ")[0] for line in found] == [
        "optimizer.betas",
        "optimizer.eps",
        "optimizer.\\x1b[2J",
        "trainer",
        "seed",
        "gradient_clip_val",
    ]
    assert all(line.isprintable() and len(line) < 400 for line in found)
