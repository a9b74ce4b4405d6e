"""What could not be read in a whole pass over a corpus, as one report."""

from collections.abc import Sequence
from pathlib import Path

from data_pipeline.corpora.bad_lines import described
from data_pipeline.preparation.extracted_text import ExtractionReport
from data_pipeline.preparation.extraction import InputGroup
from data_pipeline.preparation.work_folder import WorkFolder
from data_pipeline.untrusted.escaping import printable

SHOWN = 3
"""Problems in the message; a file beside the output lists all of them if there are more."""


def check_input(
    groups: Sequence[InputGroup], reports: Sequence[ExtractionReport], work: WorkFolder, listing: Path
) -> None:
    """Check that all files were read, and that no source has more bad lines than it may have.

    Args:
        groups: What each task read.
        reports: Report of each task.
        work: Stage of the tasks named "extract"; those with bad input are run again by the next run.
        listing: File that lists all problems if there are many.

    Raises:
        ValueError: naming the bad lines and files, and the setting that allows bad lines.
    """
    problems: list[str] = []
    advice = ""
    for reader in {group.reader.name: group.reader for group in groups}.values():
        of_source = [each for group, each in zip(groups, reports, strict=True) if group.reader.name == reader.name]
        files = [problem for report in of_source for problem in report.bad_files]
        lines = [line for report in of_source for line in report.bad_lines]
        if len(lines) > reader.max_bad_lines:
            problems += [f"corpus {reader.name}: {line}" for line in described(lines, reader.line_numbers)]
            advice = f"; max_bad_lines={reader.max_bad_lines} of corpus {reader.name} may be larger"
        problems += files
    problems = [printable(problem) for problem in problems]
    if not problems:
        listing.unlink(missing_ok=True)
        return
    for number, report in enumerate(reports):
        if report.bad_lines or report.bad_files:
            (work.tasks("extract") / "completions" / f"{number:05d}").unlink(missing_ok=True)
    shown = "; ".join(problems[:SHOWN])
    if len(problems) > SHOWN:
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"{problem}\n" for problem in problems), encoding="utf-8")
        shown = f"{len(problems)} bad lines and files, all listed in {listing}: {shown}; and so on"
    raise ValueError(shown + advice)
