"""A plain sweep of bert-finetune: a name for each point, and what its scores say of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from bert_lightning.sweeps.finetuned_points import FinetunedPoints
from bert_lightning.sweeps.outcomes import Outcome
from bert_lightning.sweeps.points import Point, plan_points
from tests.support.configs import compose_config


def write_scores(folder: Path, seeds: dict[str, float]) -> None:
    folder.mkdir(parents=True)
    score = {"mean": 0.75, "standard_deviation": 0.125, "values": seeds}
    content = {"chosen_by": "validation/accuracy", "checkpoint": "x", "metrics": {"validation/accuracy": score}}
    (folder / "scores.json").write_text(json.dumps(content))


def test_a_point_without_a_name_is_named_after_what_it_overrides() -> None:
    def compose(number: int, words: Sequence[str]) -> DictConfig:
        return compose_config("finetune", ["task=sst2", "task.path=x", "checkpoint=y", *words])

    def folders(*words: str) -> list[str]:
        return [
            str(each.run_dir) for each in plan_points(OverridesParser.create().parse_overrides(list(words)), compose)
        ]

    assert folders("optimizer.lr=1e-3,2e-3") == ["outputs/sst2/optimizer.lr=0.001", "outputs/sst2/optimizer.lr=0.002"]
    assert folders("task=sst2,cola") == ["outputs/sst2/task=sst2", "outputs/cola/task=cola"]
    assert folders("seed=1,2", "run_name=s") == ["outputs/s/seed=1", "outputs/s/seed=2"]


@pytest.mark.parametrize(
    ("seeds", "has_run", "status"),
    [
        ({"3": 0.5, "4": 1.0}, False, "finished"),
        ({"3": 0.5, "4": 1.0, "5": 0.25}, True, "finished"),
        ({"3": 0.5}, False, "stopped"),
        (None, True, "stopped"),
        (None, False, "not started"),
    ],
)
def test_scores_of_all_seeds_say_that_a_point_is_finished(
    tmp_path: Path, seeds: dict[str, float] | None, has_run: bool, status: str
) -> None:
    run_dir = tmp_path / "run"
    if seeds is not None:
        write_scores(run_dir, seeds)
    config = OmegaConf.create({"run_dir": str(run_dir), "seed": 3, "seeds": 2})
    points = FinetunedPoints()
    assert points.status(config, has_run) == status
    outcome = Outcome(Point(0, "optimizer.lr=0.1", (), config), status)
    cells = [next(iter(column.cells)) for column in points.table([outcome]).columns]
    scores = ["validation/accuracy", "0.7500", "0.1250"] if seeds is not None else ["-", "-", "-"]
    assert cells == ["optimizer.lr=0.1", status, *scores, str(run_dir)]
