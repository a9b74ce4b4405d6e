"""The page about a search shows its trials, the best first, and nothing that its texts say as markup."""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from bert_lightning.reports.sweep_charts import Dimension, curves, parallel_coordinates
from bert_lightning.reports.sweep_page import SweepPage, sweep_page
from bert_lightning.reports.trial_row import COMPLETE, FAILED, PRUNED, RUNNING, WAITING, TrialRow, best_first
from tests.reports.pages import EVIL, Page, assert_stands_alone

DIMENSIONS = (Dimension("optimizer.lr", (), 1e-4, 1e-2, True), Dimension("model", ("bert_mini", EVIL)))


def row(number: int, state: str, value: float | None, lr: float, error: str | None = None) -> TrialRow:
    curve = ([5, 10], [9.0, value]) if value is not None else ([], [])
    values = {"optimizer.lr": lr, "model": EVIL if number else "bert_mini"}
    return TrialRow(number, state, value, values, f"out/trial-{number:04d}", 10, 60.0, curve, error)


ROWS = (
    row(0, COMPLETE, 7.5, 1e-3),
    row(1, FAILED, None, 1e-2, EVIL),
    row(2, COMPLETE, 7.25, 2e-3),
    row(3, PRUNED, 8.0, 5e-4),
    row(4, RUNNING, None, 5e-3),
)


@pytest.mark.parametrize(("direction", "order"), [("minimize", [2, 0, 1, 3, 4]), ("maximize", [0, 2, 1, 3, 4])])
def test_trials_are_sorted_by_what_is_better(direction: str, order: list[int]) -> None:
    assert [each.number for each in best_first(ROWS, direction)] == order
    page = Page(sweep_page(SweepPage("lr", "val/loss", direction, ROWS, DIMENSIONS, {}, "the line", {})))
    assert [row[0] for row in page.rows if row[0].isdecimal()] == [str(number) for number in order]
    assert [row[0] for row in page.best_rows] == [str(order[0])]


def test_the_page_has_charts_that_name_their_trials_and_the_line_of_the_winner() -> None:
    shares = {"optimizer.lr": 0.9, "model": 0.1}
    line = "bert-pretrain 'a=[1,2]' run_name=lr-best"
    page = Page(sweep_page(SweepPage("lr", "val/loss", "minimize", ROWS, DIMENSIONS, shares, line, {"seed": "0"})))
    assert len(page.charts) == 4
    assert f"trial 2: complete, val/loss 7.2500, optimizer.lr=0.002, model={EVIL}" in page.said
    assert line in page.words
    assert_stands_alone(page)
    assert "5 trials: 2 complete, 1 failed, 1 pruned, 1 running" in page.words


def test_a_search_without_a_complete_trial_has_a_page() -> None:
    page = Page(sweep_page(SweepPage(EVIL, "val/loss", "minimize", ROWS[3:], DIMENSIONS, {}, None, {})))
    assert "no trial is complete yet" in page.words
    one = SweepPage("lr", "val/loss", "minimize", ROWS[4:], DIMENSIONS, {}, None, {})
    assert one.standing == "1 trial: 1 running; minimize val/loss"
    assert_stands_alone(page)


def test_values_that_are_not_finite_are_not_drawn() -> None:
    """Searches by earlier versions have kept them as those of complete trials."""
    rows = (
        *ROWS,
        row(5, COMPLETE, math.inf, 1e-3),
        row(6, COMPLETE, math.nan, 1e-3),
        row(7, COMPLETE, -math.inf, 1e-3),
    )
    for direction, best in (("minimize", 2), ("maximize", 0)):
        swept = SweepPage("lr", "val/loss", direction, rows, DIMENSIONS, {}, None, {})
        assert swept.best is rows[best]
        page = Page(sweep_page(swept))
        assert len(page.charts) == 3
    drawn = curves(rows, None, "val/loss")
    assert drawn is not None
    assert [said[0].partition(":")[0] for xs, said in lines_of(drawn.drawing) if xs == [5]] == [
        "trial 5",
        "trial 6",
        "trial 7",
    ]


def test_pruning_has_saved_what_the_trials_that_ended_have_not_made() -> None:
    """One that failed, waits or runs was not pruned."""
    steps = {COMPLETE: 100, PRUNED: 50, FAILED: 3, RUNNING: 20, WAITING: 0}
    rows = [TrialRow(number, state, None, {}, "out", made) for number, (state, made) in enumerate(steps.items())]
    figures = {
        figure.label: figure.value for figure in SweepPage("lr", "a", "minimize", rows, (), {}, None, {}).figures
    }
    assert figures["of the steps without pruning"] == "75%"
    assert figures["steps of all trials"] == "173"


def test_values_lie_on_their_axes() -> None:
    """Evenly on a logarithmic scale; listed values in the middle of their shares."""
    log, listed = Dimension("a", (), 1e-4, 1e-2, True), Dimension("b", ("x", "y"))
    assert [log.height(each) for each in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 0.5, 1])
    assert [listed.height(each) for each in ("x", "y")] == [0.25, 0.75]
    assert [name for _, name in log.ticks()] == ["0.0001", "0.001", "0.01"]
    assert Dimension("c", (), 2.0, 2.0).height(2.0) == 0.5


def test_a_trial_without_all_keys_lies_on_the_axes_of_those_that_it_has() -> None:
    """An enqueued trial that waits has only the values that were given."""
    trials = [row(0, COMPLETE, 7.5, 1e-3), TrialRow(1, WAITING, None, {"model": "bert_mini"}, "out/trial-0001")]
    chart = parallel_coordinates(trials, DIMENSIONS, "val/loss", "minimize")
    assert chart is not None
    drawn = {said[0].partition(":")[0]: xs for xs, said in lines_of(chart.drawing)}
    assert drawn == {"trial 0": [0, 1, 2], "trial 1": [1]}


def lines_of(drawing: Any) -> Iterator[tuple[list[int], list[str]]]:
    """Yield the positions and the words of all lines of trials in a drawing, wherever they stand in it."""
    if isinstance(drawing, dict):
        entries = drawing.get("entries")
        if isinstance(entries, list) and {"x", "said"} <= {name for name, _ in entries}:
            found = dict(entries)
            yield found["x"], found["said"]
    inner = drawing.values() if isinstance(drawing, dict) else drawing if isinstance(drawing, list) else ()
    for each in inner:
        yield from lines_of(each)
