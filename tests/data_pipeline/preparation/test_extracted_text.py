"""Reports of tasks: names of files that are no text, and titles that stay on the disk."""

import os
import tracemalloc
from pathlib import Path

from data_pipeline.corpora.bad_lines import BadLine
from data_pipeline.preparation.extracted_text import ExtractedText, ExtractionReport


def test_names_of_files_that_are_no_text_are_kept(tmp_path: Path) -> None:
    text = ExtractedText(tmp_path)
    name = os.fsdecode(b"caf\xe9.txt")
    report = ExtractionReport(bad_lines=[BadLine(name, 3, "is not JSON")], bad_files=[f"{name} is damaged"])
    text.save_report(0, report)
    assert text.report(0) == report


def test_titles_of_all_tasks_are_never_in_memory_together(tmp_path: Path) -> None:
    text = ExtractedText(tmp_path)
    titles = [f"A title of a usual length, number {number}" for number in range(2000)]
    for number in range(20):
        text.save_report(number, ExtractionReport(held_out=number, titles=titles))

    def peak(tasks: int) -> int:
        tracemalloc.start()
        assert [report.held_out for report in text.reports(tasks)] == list(range(tasks))
        assert sum(1 for _ in text.titles(range(tasks))) == tasks * 2000
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(20) < 1.5 * peak(2)
