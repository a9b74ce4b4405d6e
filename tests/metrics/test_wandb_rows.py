"""Rows reach W&B once and whole: after kills, resumes and validations that are made up for."""

from pathlib import Path
from typing import Any

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv
from bert_lightning.metrics.wandb_rows import WandbRows


class FakeRun:
    """A run that keeps its rows and its summary."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.summary: dict[str, Any] = {}

    def log(self, row: dict[str, Any], step: int) -> None:
        assert step > max(self.rows, default=-1), "W&B takes rows in order only, and each step once"
        self.rows[step] = row
        self.summary |= row


def part(folder: Path, run: FakeRun, last_sent: int, steps: list[tuple[int, dict[str, float]]]) -> WandbRows:
    """Log values of steps as a part of a run does, to metrics.csv and to W&B; nothing is finished."""
    file, rows = MetricsCsv(folder), WandbRows(run, folder / "metrics.csv", last_sent)
    for step, values in steps:
        file.log_metrics(values, step)
        rows.add(values, step)
    return rows


def test_values_of_a_step_are_one_row(tmp_path: Path) -> None:
    run = FakeRun()
    rows = part(tmp_path, run, -1, [(2, {"train/loss": 3.0}), (2, {"val/loss": 4.0}), (4, {"train/loss": 2.0})])
    assert run.rows == {2: {"trainer/step": 2, "train/loss": 3.0, "val/loss": 4.0}}
    rows.finish()
    assert run.rows[4] == {"trainer/step": 4, "train/loss": 2.0}


@pytest.mark.parametrize("written", [-1, 2, 4, 6])
def test_a_killed_run_leaves_no_gap_and_no_repetition(tmp_path: Path, written: int) -> None:
    """W&B had written up to a step; the run goes on from the checkpoint of step 4, whose validation it owes."""
    made = [(step, {"train/loss": float(step)}) for step in (2, 4, 6, 8)]
    run = FakeRun()
    part(tmp_path, run, -1, made)
    run.rows = {step: row for step, row in run.rows.items() if step <= written}
    part(tmp_path, run, written, [(4, {"val/loss": 1.0}), *made[2:]]).finish()
    assert list(run.rows) == [2, 4, 6, 8]
    assert [row["train/loss"] for row in run.rows.values()] == [2.0, 4.0, 6.0, 8.0]
    assert ("val/loss" in run.rows[4]) == (written < 4)  # its validation was over if a later row was under way


def test_a_row_waits_for_the_validation_that_the_next_launch_makes(tmp_path: Path) -> None:
    run = FakeRun()
    part(tmp_path, run, -1, [(2, {"train/loss": 2.0}), (4, {"train/loss": 4.0})]).finish(awaited_step=4)
    assert list(run.rows) == [2]
    part(tmp_path, run, 2, [(4, {"val/loss": 1.0})]).finish()
    assert run.rows[4] == {"trainer/step": 4, "train/loss": 4.0, "val/loss": 1.0}


def test_a_row_with_its_validation_does_not_wait(tmp_path: Path) -> None:
    run = FakeRun()
    part(tmp_path, run, -1, [(4, {"train/loss": 4.0}), (4, {"val/loss": 1.0})]).finish(awaited_step=4)
    assert list(run.rows) == [4]


def test_the_summary_has_the_last_and_the_best_values_of_all_parts(tmp_path: Path) -> None:
    losses = {2: (3.0, 0.2), 4: (1.0, 0.5), 6: (2.0, 0.4)}
    made = [(step, {"val/loss": loss, "val/mlm_accuracy": right}) for step, (loss, right) in losses.items()]
    part(tmp_path, FakeRun(), -1, made).finish()
    later = FakeRun()
    part(tmp_path, later, 6, [made[2]]).finish()
    assert later.rows == {}
    assert later.summary["trainer/step"] == 6
    assert later.summary["val/loss"] == 2.0
    assert later.summary["best/val/loss"] == 1.0
    assert later.summary["best_step/val/loss"] == 4
    assert later.summary["best/val/mlm_accuracy"] == 0.5


def test_a_value_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    run = FakeRun()
    part(tmp_path, run, -1, [(2, {"val/loss": float("nan")}), (4, {"val/loss": 3.0})]).finish()
    assert run.summary["best_step/val/loss"] == 4


def test_the_best_of_an_error_is_the_lowest_and_a_threshold_has_none(tmp_path: Path) -> None:
    made = [
        (step, {"val/squared_error": error, "val/best_f1_threshold": error}) for step, error in ((2, 0.5), (4, 2.0))
    ]
    run = FakeRun()
    part(tmp_path, run, -1, made).finish()
    assert run.summary["best/val/squared_error"] == 0.5
    assert "best/val/best_f1_threshold" not in run.summary
