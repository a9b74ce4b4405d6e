"""One self-contained page about a run: what was run, what it reached, its curves, examples, data and settings.

Made from the folder of the run alone, so a run that was resumed or moved gives the same page.
"""

from pathlib import Path

from bert_lightning.reports.errors_section import errors_section
from bert_lightning.reports.page import render
from bert_lightning.reports.run_page import read_run
from bert_lightning.settings.run_folder import RunFolder, write_whole


def write_report(run_dir: Path) -> Path:
    """Write the report into the folder of a run and return its path.

    Raises:
        ValueError: if the folder has no metrics, or one of its files is damaged.
    """
    folder = RunFolder(run_dir)
    run = read_run(run_dir)
    write_whole(folder.report, render("run.html.j2", run=run, errors=errors_section(folder.errors)))
    return folder.report
