"""bert-report: write the pages about runs and searches anew, also while they run, and say how a search stands.

bert-report outputs/first outputs/lr
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bert_lightning.reports.report import write_report
from bert_lightning.settings.cli import plain_entry_point
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder, import_optuna


def report(arguments: Sequence[str]) -> None:
    """Write the report of every folder, and print where it is; of a search also its trials.

    Args:
        arguments: Folders of runs and searches.

    Raises:
        ValueError: for a folder that is neither, before any file is written.
    """
    parser = argparse.ArgumentParser(
        prog="bert-report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="+", type=Path, help="folder of a run, or of a search with its trials")
    folders: list[Path] = parser.parse_args(arguments).folder
    studies = {folder: SweepFolder(folder).read_study() for folder in folders}
    for folder, noted in studies.items():
        if noted is None and not RunFolder(folder).metrics.exists():
            raise ValueError(f"{folder} is neither a run nor a search: it has no metrics.csv and no study.json")
    for folder, noted in studies.items():
        path = write_report(folder) if noted is None else _report_search(SweepFolder(folder), noted)
        print(path)


def _report_search(folder: SweepFolder, noted: NotedStudy) -> Path:
    """Write the report and the table of a search, show how it stands, and return the path of the report."""
    import_optuna()
    from bert_lightning.sweeps.study import METRIC, load_study
    from bert_lightning.sweeps.sweep_files import direction_of, write_search_report, write_trials
    from bert_lightning.sweeps.trial_rows import trial_rows, trials_table

    study = load_study(folder, noted)
    rows = trial_rows(study.get_trials(deepcopy=False), folder)
    write_trials(folder, rows)
    write_search_report(folder, study, rows)
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(trials_table(rows, study.user_attrs.get(METRIC, "value"), direction_of(study)))
    return folder.report


main = plain_entry_point(report)

if __name__ == "__main__":
    main()
