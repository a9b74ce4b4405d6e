"""What a plain sweep says of its points: those that ran, those that did not, and those that were finished before."""

import _thread
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.sweeps.points import Point
from bert_lightning.sweeps.sweep import Sweep
from bert_lightning.training.stop_file import stop_file_of


def point(folder: Path, number: int, steps: int = 10, lr: float = 0.1, teacher: int | None = None) -> Point:
    """A point whose folder need not exist."""
    settings = {"run_dir": str(folder / str(number)), "resume": "auto", "lr": lr}
    settings["teacher"] = None if teacher is None else f"{folder}/{teacher}/checkpoints"
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
    """Calls a function for all points of a launch; a ValueError of it is their failure."""

    def __init__(self, work: Callable[[Sequence[Sequence[str]]], None]) -> None:
        self._work = work

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        returned = [JobReturn(overrides=list(words), status=JobStatus.COMPLETED) for words in job_overrides]
        try:
            self._work(job_overrides)
        except ValueError as error:
            for job in returned:
                job.status, job.return_value = JobStatus.FAILED, error
        return returned


def numbers(job_overrides: Sequence[Sequence[str]]) -> list[int]:
    """The points of a launch."""
    return [int(words[0].removeprefix("number=")) for words in job_overrides]


def trains(points: Sequence[Point], launched: list[list[int]]) -> Launcher:
    """Trains points and keeps which were launched together."""

    def work(job_overrides: Sequence[Sequence[str]]) -> None:
        launched.append(numbers(job_overrides))
        for number in numbers(job_overrides):
            settings = points[number].settings
            assert settings is not None
            train(settings)

    return Launcher(work)


def swept(points: Sequence[Point], launcher: Launcher, one_by_one: bool = True) -> tuple[int, list[str], list[int]]:
    """Launch points; returns the status, what is said of each, and those that came to their end."""
    ended: list[int] = []
    context: Any = HydraContext(None, None)  # type: ignore[arg-type]
    make: Any = Sweep
    sweep = make(context, OmegaConf.create(), launcher, one_by_one, lambda each: ended.append(each.number))
    status = sweep.launch(points)
    said = [f"{each.status}: {each.error}" if each.error else each.status for each in sweep.outcomes(points)]
    return status, said, ended


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

    assert swept(points, Launcher(lose), one_by_one=False) == (1, ["finished", "not started"], [0])
    assert caplog.messages[-1].endswith("the same line with resume=auto goes on: Job 7_1 has no result")
    with pytest.raises(RuntimeError):
        swept(points[1:], Launcher(lose))


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_point_waits_for_the_one_that_it_learns_from(
    tmp_path: Path, one_by_one: bool, order: tuple[int, ...]
) -> None:
    """Whatever stands first, and however many run at a time; 1 learns from 0, and 2 from 1."""
    points = [point(tmp_path, 0), point(tmp_path, 1, teacher=0), point(tmp_path, 2, teacher=1)]
    launched: list[list[int]] = []
    status, said, ended = swept([points[number] for number in order], trains(points, launched), one_by_one)
    assert (status, said) == (0, ["finished"] * 3)
    assert launched == [[0], [1], [2]]
    assert sorted(ended) == [0, 1, 2]


@pytest.mark.parametrize("one_by_one", [True, False])
def test_nobody_learns_from_a_point_that_has_not_come_to_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one_by_one: bool
) -> None:
    """It has failed on its way, and has left a checkpoint behind; the next start makes all of it whole."""
    caplog.set_level("INFO")
    points = [point(tmp_path, 0), point(tmp_path, 1, teacher=0), point(tmp_path, 2)]

    def fail(job_overrides: Sequence[Sequence[str]]) -> None:
        for number in numbers(job_overrides):
            settings = point(tmp_path, number, steps=10 if number == 2 else 5).settings
            assert settings is not None
            train(settings)
            if number == 0:
                raise ValueError("killed by SIGKILL")

    status, said, ended = swept(points, Launcher(fail), one_by_one)
    assert said == ["failed: killed by SIGKILL", "not started: waits for lr=0.1, whose run it reads", "finished"]
    assert (status, ended) == (0, [2])
    assert "point 2 of 3: lr=0.1 is not started, waits for lr=0.1, whose run it reads" in caplog.messages
    launched: list[list[int]] = []
    assert swept(points, trains(points, launched), one_by_one)[1] == ["finished", "finished", "was finished"]
    assert launched == [[0], [1]]


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize("to_its_end", [True, False])
def test_a_process_that_an_earlier_start_has_left_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one_by_one: bool, to_its_end: bool
) -> None:
    """Then the point is left alone, if that process has finished it, and else goes on."""
    caplog.set_level("INFO")
    points, launched, begun = [point(tmp_path, 0)], list[list[int]](), threading.Event()
    settings = points[0].settings
    assert settings is not None

    def orphan() -> None:
        with RunFolder(tmp_path / "0").locked():
            begun.set()
            time.sleep(0.5)
            if to_its_end:
                train(settings)

    thread = threading.Thread(target=orphan)
    thread.start()
    begun.wait()
    status, said, ended = swept(points, trains(points, launched), one_by_one)
    thread.join()
    assert (status, said, ended) == (0, ["was finished" if to_its_end else "finished"], [0])
    assert launched == ([] if to_its_end else [[0]])
    assert "lr=0.1 still trains in a process of an earlier start; waiting for its end" in caplog.text


def test_after_ctrl_c_jobs_are_told_to_save_and_are_waited_for(tmp_path: Path) -> None:
    points, launched, saved = [point(tmp_path, 0), point(tmp_path, 1, teacher=0)], list[list[int]](), list[int]()

    def work(job_overrides: Sequence[Sequence[str]]) -> None:
        launched.append(numbers(job_overrides))
        stop_file = stop_file_of(tmp_path / "0")
        assert job_overrides[0][1:] == [f"++hydra.job.env_set.BERT_LIGHTNING_STOP_FILE='{stop_file}'"]
        assert not stop_file.exists()
        _thread.interrupt_main()
        while not stop_file.exists():
            time.sleep(0.01)
        saved.append(0)

    for _ in range(2):  # the second start is not told by the file of the first one
        assert swept(points, Launcher(work), one_by_one=False)[0] == 130
    assert launched == [[0], [0]]
    assert saved == [0, 0]
    assert swept(points, trains(points, launched), one_by_one=False)[:2] == (0, ["finished", "finished"])


def test_jobs_of_a_plain_sweep_are_one_array(tmp_path: Path) -> None:
    """Those of an ablation are launched by themselves, and at most as many at a time as its launcher says."""
    points = [point(tmp_path, number, lr=number) for number in range(3)]
    launched: list[list[int]] = []
    make: Any = Sweep
    context: Any = HydraContext(None, None)  # type: ignore[arg-type]
    assert make(context, OmegaConf.create(), trains(points, launched), False).launch(points) == 0
    assert launched == [[0, 1, 2]]
    running: list[int] = []

    def work(job_overrides: Sequence[Sequence[str]]) -> None:
        (number,) = numbers(job_overrides)
        running.append(number)
        time.sleep(0.2)
        assert running == [number]
        running.pop()

    launcher: Any = Launcher(work)
    launcher.params = {"array_parallelism": 1}
    others = [point(tmp_path / "others", number, lr=number) for number in range(3)]
    assert swept(others, launcher, one_by_one=False)[:2] == (0, ["stopped"] * 3)
