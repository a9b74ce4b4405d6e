"""What a plain sweep says of its points: those that ran, those that did not, and those that were finished before."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from bert_lightning.sweeps.points import Point
from bert_lightning.sweeps.sweep import Sweep


def point(folder: Path, number: int, steps: int = 10, lr: float = 0.1) -> Point:
    """A point whose folder need not exist."""
    settings = {"run_dir": str(folder / str(number)), "resume": "auto", "lr": lr}
    config = OmegaConf.create(settings | {"trainer": {"max_steps": steps, "limit_val_batches": 1.0}})
    return Point(number, f"lr={lr}", (f"number={number}",), config)


def train(settings: DictConfig, is_validated: bool = True) -> None:
    """Leave behind what a run leaves that has made all its steps."""
    folder, step = Path(settings.run_dir), settings.trainer.max_steps
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints" / f"step-{step:07d}.ckpt").touch()
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(settings))
    (folder / "metrics.csv").write_text(f"step,train/loss,val/loss\n{step},1.0,{2.0 if is_validated else ''}\n")


class Launcher:
    """Calls a function for all points of a launch."""

    def __init__(self, work: Callable[[Sequence[Sequence[str]]], None]) -> None:
        self._work = work

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self._work(job_overrides)
        return [JobReturn(overrides=list(words), status=JobStatus.COMPLETED) for words in job_overrides]


def swept(points: Sequence[Point], launcher: Launcher, one_by_one: bool = True) -> tuple[int, list[str], list[int]]:
    """Launch points; returns the status, what is said of each, and those that came to their end."""
    ended: list[int] = []
    context: Any = HydraContext(None, None)  # type: ignore[arg-type]
    make: Any = Sweep
    sweep = make(context, OmegaConf.create(), launcher, one_by_one, lambda each: ended.append(each.number))
    status = sweep.launch(points)
    return status, [outcome.status for outcome in sweep.outcomes(points)], ended


def test_what_was_finished_with_other_settings_is_said_to_be_also_if_the_sweep_did_not_come_to_it(
    tmp_path: Path,
) -> None:
    points = [point(tmp_path, 0), point(tmp_path, 1, lr=0.2)]
    other = point(tmp_path, 1, lr=0.3).settings
    assert other is not None
    train(other)

    def interrupt(words: object) -> None:
        raise KeyboardInterrupt

    assert swept(points, Launcher(interrupt)) == (130, ["not started", "was finished otherwise"], [])
    assert swept(points[1:], Launcher(lambda words: None)) == (0, ["was finished otherwise"], [])


def test_a_run_that_makes_up_for_its_last_validation_is_finished(tmp_path: Path) -> None:
    """It was killed in it, so it is no run with other settings, and an ablation measures it."""
    one = point(tmp_path, 0)
    settings = one.settings
    assert settings is not None
    train(settings, is_validated=False)
    assert swept([one], Launcher(lambda words: train(settings))) == (0, ["finished"], [0])


def test_a_lost_job_of_a_launcher_is_one_line_and_the_table_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    points = [point(tmp_path, 0), point(tmp_path, 1, lr=0.2)]

    def lose(words: object) -> None:
        settings = points[0].settings
        assert settings is not None
        train(settings)
        raise RuntimeError("Job 7_1\nhas no result")

    assert swept(points, Launcher(lose), one_by_one=False) == (1, ["finished", "not started"], [])
    assert caplog.messages[-1].endswith("the same line with resume=auto goes on: Job 7_1 has no result")
    with pytest.raises(RuntimeError):
        swept(points[1:], Launcher(lose))
