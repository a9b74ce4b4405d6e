"""Reports of tasks: names of files that are no text, and titles that stay on the disk."""

import os
import tracemalloc
from pathlib import Path

from data_pipeline.preparation.extracted_text import ExtractedText, ExtractionReport


def test_names_of_files_that_are_no_text_are_spelled_out(tmp_path: Path) -> None:
    text = ExtractedText(tmp_path)
    name = os.fsdecode(b"caf\xe9.txt")
    text.save_report(0, ExtractionReport(bad_lines=[f"{name}, line 3"], bad_files=[f"{name} is damaged"]))
    report = text.report(0)
    assert (report.bad_lines, report.bad_files) == ([r"caf\udce9.txt, line 3"], [r"caf\udce9.txt is damaged"])


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
