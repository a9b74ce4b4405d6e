"""Checks across settings, made before any process starts, and what the launchers say."""

import doctest

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings import config
from bert_lightning.settings.config import (
    Processes,
    check_numbers,
    find_processes,
    restarts_would_fail,
    validate,
)
from tests.support.configs import compose_config

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "3"}
SRUN = {"SLURM_PROCID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "3"}


def trainer(**changes: object) -> DictConfig:
    return OmegaConf.create({"accelerator": "cpu", "devices": "auto", "num_nodes": "auto"} | changes)


def settings(**changes: object) -> DictConfig:
    values = {
        "trainer": {"precision": "auto", "max_steps": 10, "log_every_n_steps": 5, "val_check_interval": 5},
        "schedule": {"max_steps": 10},
        "run_name": "a",
        "gradient_clip_val": 1.0,
        "max_skipped_steps": 10,
        "activation_checkpointing": False,
        "float32_matmul_precision": "highest",
    }
    cfg = OmegaConf.create(values)
    for name, value in changes.items():
        OmegaConf.update(cfg, name.replace("__", "."), value)
    return cfg


def test_examples() -> None:
    assert doctest.testmod(config).failed == 0


@pytest.mark.parametrize(
    ("changes", "is_parallel", "environment", "expected"),
    [
        ({}, False, {}, Processes("cpu", 1, 1, False)),
        ({}, True, {}, Processes("cpu", 1, 1, False)),
        ({"devices": 3, "num_nodes": 2}, True, {"NODE_RANK": "1"}, Processes("cpu", 3, 2, False)),
        ({}, True, TORCHRUN, Processes("cpu", 4, 2, True)),
        ({"devices": 4, "num_nodes": 2}, True, TORCHRUN, Processes("cpu", 4, 2, True)),
        ({}, True, SRUN, Processes("cpu", 2, 3, True)),
        ({"devices": 4}, True, SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, Processes("cpu", 4, 1, False)),
    ],
)
def test_the_world_is_what_was_launched_or_asked_for(
    changes: dict[str, object], is_parallel: bool, environment: dict[str, str], expected: Processes
) -> None:
    assert find_processes(trainer(**changes), is_parallel, environment) == expected


@pytest.mark.parametrize(
    ("changes", "is_parallel", "environment", "message"),
    [
        ({"devices": 2}, True, TORCHRUN, "trainer.devices=2, but the launcher has started 4"),
        ({"num_nodes": 3}, True, TORCHRUN, "trainer.num_nodes=3, but the launcher has started 2"),
        ({"devices": 2}, False, {}, "strategy=single runs one process, not trainer.devices=2"),
        ({}, False, TORCHRUN, "strategy=single runs one process, not trainer.devices=4"),
        ({"devices": 0}, True, {}, "trainer.devices must be a whole number, at least 1; got 0"),
        ({"num_nodes": 2}, True, {}, "trainer.num_nodes=2, but nothing has started processes on other nodes"),
        ({"devices": "all"}, True, {}, "trainer.devices must be .*got all"),
        ({"accelerator": "tpu"}, True, {}, "trainer.accelerator=tpu is not one of auto, cpu, gpu"),
    ],
)
def test_worlds_that_cannot_be_are_refused(
    changes: dict[str, object], is_parallel: bool, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_processes(trainer(**changes), is_parallel, environment)


def test_more_gpus_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_processes(trainer(accelerator="auto"), True, {}) == Processes("gpu", 2, 1, False)
    assert find_processes(trainer(accelerator="gpu"), False, {}) == Processes("gpu", 1, 1, False)
    with pytest.raises(ValueError, match=r"trainer.devices=3, but this machine has 2 GPUs"):
        find_processes(trainer(accelerator="gpu", devices=3), True, {})


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trainer.accelerator=gpu, but torch finds no GPU"):
        find_processes(trainer(accelerator="gpu"), True, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer__precision": "16-mixed"}, "trainer.precision=16-mixed is not one of auto, 32-true, bf16-mixed"),
        ({"trainer__max_steps": 0}, "trainer.max_steps must be .*got 0"),
        ({"schedule__max_steps": None}, "schedule.max_steps must be a whole number.*got None"),
        (
            {"trainer__val_check_interval": 0.5},
            "trainer.val_check_interval must be a whole number.*got 0.5",
        ),
        ({"run_name": "../x"}, "run_name must be .*got ../x"),
        ({"run_name": "lr/../x"}, "run_name must be .*got lr/../x"),
        ({"run_name": "/x"}, "run_name must be .*got /x"),
        ({"float32_matmul_precision": "tf32"}, "one of highest, high, medium; got tf32"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict[str, object], message: str) -> None:
    validate(settings(), Processes("cpu", 2, 1, False))
    with pytest.raises(ValueError, match=message):
        validate(settings(**changes), Processes("cpu", 2, 1, False))


def test_restarts_of_torchrun_need_a_store_of_their_own() -> None:
    shared = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "3"}
    assert restarts_would_fail(shared)
    assert not restarts_would_fail(shared | {"TORCHELASTIC_USE_AGENT_STORE": "False"})
    assert not restarts_would_fail(shared | {"TORCHELASTIC_MAX_RESTARTS": "0"})
    assert not restarts_would_fail({})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["data.exclude_shards=a.tar"], r"data.exclude_shards must be a list such as \[a.tar\]; got a.tar"),
        (["data.quarantine=[a.tar]", "data.exclude_shards=[b.tar]"], "is the old name of data.exclude_shards"),
    ],
)
def test_shards_to_leave_out_are_a_list_under_one_name(changes: list[str], said: str) -> None:
    cfg = compose_config("inspect", ["data.path=x", *changes])
    with pytest.raises(ValueError, match=said):
        check_numbers(cfg.data, 0)


def test_the_old_name_of_excluded_shards_works_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    cfg = compose_config("inspect", ["data.path=x", "data.quarantine=[a.tar]"])
    check_numbers(cfg.data, 0)
    assert list(cfg.data.exclude_shards) == ["a.tar"]
    assert "data.quarantine is now called data.exclude_shards" in caplog.text
