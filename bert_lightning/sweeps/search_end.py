"""The end of a search: its trials as a table, its failures, where everything is, and its exit status."""

from collections.abc import Sequence

from rich.console import Console

from bert_lightning.reports.trial_row import COMPLETE, FAILED, RUNNING, STOPPED, TrialRow
from bert_lightning.settings.progress_bars import end_lines
from bert_lightning.settings.sweep_folder import SweepFolder
from bert_lightning.sweeps.search_settings import Goal
from bert_lightning.sweeps.trial_rows import trials_table
from data_pipeline.processes.machine_faults import TRY_AGAIN
from data_pipeline.untrusted.escaping import printable


def show_search(rows: Sequence[TrialRow], goal: Goal, folder: SweepFolder, winners_line: str) -> None:
    """Print the end of a search.

    Args:
        rows: The trials.
        goal: What the search is for.
        folder: Folder of the search.
        winners_line: The line that runs the winner, if there is one.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(trials_table(rows, goal.metric, goal.direction))
    for row in rows:
        if row.state == FAILED:
            console.print(printable(f"trial {row.number} failed: {row.error}"), soft_wrap=True)
    places: list[tuple[str, object]] = [("trials", folder.trials), ("report", folder.report)]
    has_best = folder.best.exists()
    for line in end_lines(
        [*places, *([("best", folder.best)] if has_best else [])], [winners_line] if has_best else []
    ):
        console.print(line, soft_wrap=True)


def end_status(rows: Sequence[TrialRow], has_lost: bool) -> int:
    """Return the exit status of a search that no signal has ended.

    It is 75 as long as a trial that the machine has ended is to go on, 1 if no trial is complete and none goes on, and
    else 0, also if the time of the start is over: what is asked for has been done.

    Args:
        rows: The trials.
        has_lost: Whether one of them was lost and has not gone on since.
    """
    if has_lost:
        return TRY_AGAIN
    return 0 if {COMPLETE, STOPPED, RUNNING} & {row.state for row in rows} else 1
