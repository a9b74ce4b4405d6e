"""What a search says at its end: its trials as a table, its failures, and where everything is."""

from collections.abc import Sequence

from rich.console import Console

from bert_lightning.reports.trial_row import FAILED, TrialRow
from bert_lightning.settings.progress_bars import end_lines
from bert_lightning.settings.sweep_folder import SweepFolder
from bert_lightning.sweeps.search_settings import Goal
from bert_lightning.sweeps.trial_rows import trials_table
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
