"""The fine-tunings of an ablation: what was trained takes the name of a task, and none trains beside another."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.sweeps import variant_scores
from bert_lightning.sweeps.point_process import PointFailedError
from bert_lightning.sweeps.points import Point
from bert_lightning.sweeps.variant_points import VariantRun


@pytest.fixture
def run(tmp_path: Path) -> VariantRun:
    """A run of an ablation that is going to be fine-tuned."""
    settings = {"run_dir": str(tmp_path / "few" / "seed-0"), "run_name": "few/seed-0", "output_dir": str(tmp_path)}
    whole = settings | {"seed": 0, "trainer": {"accelerator": "cpu", "precision": "32"}}
    return VariantRun("few", 0, Point(0, "few", (), OmegaConf.create(whole)))


def scores(run: VariantRun, lr: object) -> variant_scores.VariantScores:
    """Scores of one task with a learning rate."""
    make: Any = variant_scores.VariantScores
    return make(run.point.settings, SimpleNamespace(tasks={"sst2": {"task": "sst2", "optimizer.lr": lr}}), "csv")


def test_a_task_that_could_not_begin_is_corrected_under_its_name(
    run: VariantRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(words: Sequence[str]) -> None:
        raise PointFailedError("optimizer.lr must be a number; got abc")

    monkeypatch.setattr(variant_scores, "run_process", refuse)
    with pytest.raises(PointFailedError):
        scores(run, "abc")._finetune(run, "sst2")
    scores(run, 1e-4).check(run)
    with pytest.raises(PointFailedError):
        scores(run, 1e-4)._finetune(run, "sst2")
    (tmp_path / "few" / "seed-0" / "tasks" / "sst2" / "seed-0" / "checkpoints").mkdir(parents=True)
    scores(run, 1e-4).check(run)
    with pytest.raises(ValueError, match=r"'optimizer.lr': 0.0001.*; give the task another name"):
        scores(run, "abc").check(run)


def test_a_fine_tuning_of_an_earlier_start_is_waited_for(
    run: VariantRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder, begun, started = tmp_path / "few" / "seed-0" / "tasks" / "sst2", threading.Event(), list[Sequence[str]]()
    monkeypatch.setattr(variant_scores, "run_process", started.append)

    def orphan() -> None:
        with RunFolder(folder).locked():
            begun.set()
            time.sleep(0.5)
            (folder / "scores.json").write_text("{}")

    thread = threading.Thread(target=orphan)
    thread.start()
    begun.wait()
    scores(run, 1e-4)._finetune(run, "sst2")
    thread.join()
    assert not started
    assert "waiting for the end of a process of an earlier start, which fine-tunes in" in caplog.text
