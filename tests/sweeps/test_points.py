"""Points of a sweep: a folder for each, with a name that is the same at every start and that no other point has."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from bert_lightning.settings.config import Processes, validate
from bert_lightning.sweeps.points import LONGEST_NAME, Point, plan_points, point_name
from tests.support.configs import compose_config


def compose(number: int, overrides: Sequence[str]) -> DictConfig:
    return compose_config("pretrain", ["data.path=x", "model.vocab_size=8", *overrides])


def plan(*arguments: str) -> list[Point]:
    return plan_points(OverridesParser.create().parse_overrides(list(arguments)), compose)


def folders(*arguments: str) -> list[str]:
    return [str(point.run_dir) for point in plan(*arguments)]


def test_every_combination_has_a_folder_in_that_of_the_sweep() -> None:
    assert folders(
        "optimizer.lr=1e-3,2e-3", "model=bert_mini,bert_tiny", "run_name=lr", "output_dir=runs", "seed=3"
    ) == [
        "runs/lr/model=bert_mini,optimizer.lr=0.001",
        "runs/lr/model=bert_tiny,optimizer.lr=0.001",
        "runs/lr/model=bert_mini,optimizer.lr=0.002",
        "runs/lr/model=bert_tiny,optimizer.lr=0.002",
    ]


def test_a_name_does_not_depend_on_the_order_or_on_what_is_not_swept() -> None:
    one = folders("seed=1,2", "optimizer.lr=0.001,2e-3", "resume=auto")
    assert set(one) == set(folders("optimizer.lr=1e-3,0.002", "trainer.max_steps=7", "seed=1,2"))
    assert folders("seed=1") == ["outputs/bert"]


@pytest.mark.parametrize(
    "value",
    ["../../etc", "/etc/passwd", "a b", "[0.9,0.98]", "a,b", "a=b", "x" * 300, "..", "é", "null\n", "$(rm)", "'q'"],
)
def test_any_value_becomes_one_safe_folder(value: str) -> None:
    name = point_name({"data.path": value})
    assert "/" not in name
    assert len(name) <= LONGEST_NAME
    settings = compose(0, ["data.seq_len=48", "data.global_batch_size=8", "data.micro_batch_size=8"])
    settings.run_name = f"bert/{name}"
    validate(settings, Processes("cpu", 1, 1, False))


def test_values_that_look_the_same_when_made_safe_stay_apart() -> None:
    values = ["a b", "a_b", "a/b", "a,b", "[a,b]", "x" * 300, "x" * 301]
    assert len({point_name({"k": value}) for value in values}) == len(values)
    assert point_name({"a": "1,b=2"}) != point_name({"a": "1", "b": "2"})


def test_runs_that_the_user_names_keep_their_folders() -> None:
    assert folders("optimizer.lr=1e-3,2e-3", "run_name=lr-${optimizer.lr}") == ["outputs/lr-0.001", "outputs/lr-0.002"]
    assert folders("run_name=a,b") == ["outputs/a", "outputs/b"]
    assert folders("seed=1,2", "run_dir=runs/${seed}") == ["runs/1", "runs/2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed=1,1"],
        ["seed=1,2", "run_dir=runs/one"],
        ["seed=1,2", "optimizer.lr=1e-3,2e-3", "run_name=lr-${optimizer.lr}"],
    ],
)
def test_two_points_never_share_a_folder(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match=r"the points .*seed=1.* and .*seed=[12].* of the sweep would both train in"):
        plan(*arguments)


def test_a_point_without_settings_is_one_failure_and_all_of_them_are_an_error() -> None:
    good, bad = plan("model=bert_mini,nothing")
    assert good.run_dir == Path("outputs/bert/model=bert_mini")
    assert (bad.run_dir, bad.swept) == (None, "model=nothing")
    assert "nothing" in str(bad.error)
    assert "\n" not in str(bad.error)
    with pytest.raises(HydraException, match="no_such_key"):
        plan("no_such_key=1,2")


def test_the_overrides_of_a_point_are_those_of_its_run() -> None:
    """As arguments of a command they give the same settings."""
    for point in plan("optimizer.betas=[0.9,0.98],[0.8,0.9]", "data.path='a b','c'"):
        assert compose(0, point.overrides) == point.settings or compose(0, point.overrides).run_dir == str(
            point.run_dir
        )
