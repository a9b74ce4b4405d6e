"""bert-report: write the pages of runs, searches, ablations and fine-tunings anew, while they run too; compare runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bert_lightning.reports.comparison_page import common_folder, read_comparison, write_comparison
from bert_lightning.reports.finetuning_page import is_finetuning, write_finetuning_report
from bert_lightning.reports.report import write_report
from bert_lightning.settings.cli import plain_entry_point
from bert_lightning.settings.report_words import COMPARISON, report_words
from bert_lightning.settings.run_folder import RunFolder, write_whole
from bert_lightning.settings.sweep_folder import NotedStudy, SweepFolder, import_optuna, naming
from bert_lightning.sweeps.ablation_folder import AblationFolder
from bert_lightning.sweeps.ablation_table import write_ablation_report
from data_pipeline.untrusted.bounded_json import read_object


def report(arguments: Sequence[str]) -> None:
    """Write the report of every folder and print where it is; for a search its trials, for several runs a page of all.

    Args:
        arguments: Folders of runs, searches, ablations and fine-tunings.

    Raises:
        ValueError: for a folder that is none of them, before any file is written.
    """
    folders, output = report_words(arguments)
    studies = {folder: SweepFolder(folder).read_study() for folder in folders}
    ablations = {folder: content for folder in folders if (content := read_object(AblationFolder(folder).json))}
    others = [folder for folder, noted in studies.items() if noted is None and folder not in ablations]
    tuned = set(filter(is_finetuning, others))
    runs = [folder for folder in others if folder not in tuned]
    for folder in runs:
        if not RunFolder(folder).metrics.exists():
            raise ValueError(
                f"{folder} is no run, search, ablation or fine-tuning: it has no metrics.csv, study.json, "
                "ablation.json or scores.json"
            )
    if output is not None and len(runs) < 2:
        raise ValueError(f"--output={output} is for the comparison of several runs; got {len(runs)}")
    if output is not None and output.is_dir():
        raise ValueError(f"--output={output} is a folder; give a file, such as {output / COMPARISON}")
    comparison = read_comparison(runs) if len(runs) > 1 else None  # a damaged run says so before any page is written
    for folder, noted in studies.items():
        print(_write(folder, noted, ablations.get(folder), folder in tuned))
    if comparison is not None:
        print(write_comparison(comparison, output or common_folder(runs) / COMPARISON))


def _write(folder: Path, noted: NotedStudy | None, ablation: dict[str, Any] | None, is_tuned: bool) -> Path:
    if noted is not None:
        return _report_search(SweepFolder(folder), noted)
    if ablation is not None:
        write_ablation_report(AblationFolder(folder), ablation)
        return AblationFolder(folder).report
    return write_finetuning_report(folder) if is_tuned else write_report(folder)


def _report_search(folder: SweepFolder, noted: NotedStudy) -> Path:
    """Write the report and the table of a search, show how it stands, and return the path of the report."""
    import_optuna()
    from bert_lightning.sweeps.study import METRIC, load_study
    from bert_lightning.sweeps.sweep_files import direction_of, search_page, write_trials
    from bert_lightning.sweeps.trial_rows import trial_rows, trials_table

    with naming(folder.storage(noted)):
        study = load_study(folder, noted)
        trials = study.get_trials(deepcopy=False)
        metric, direction = study.user_attrs.get(METRIC, "value"), direction_of(study)
    rows = trial_rows(trials, folder)
    with naming(folder.storage(noted)):
        page = search_page(folder, study, rows)
    write_trials(folder, rows)
    write_whole(folder.report, page)
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(trials_table(rows, metric, direction))
    return folder.report


main = plain_entry_point("report", report)

if __name__ == "__main__":
    main()
