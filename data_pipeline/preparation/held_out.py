"""Least size of the held-out split: two documents, so that it has pairs, even if the fraction asks for fewer."""

import heapq
import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from data_pipeline.preparation.executors import Executor
from data_pipeline.preparation.extracted_text import SPLITS, ExtractedText, ExtractionReport, record_line
from data_pipeline.preparation.extraction import is_held_out, unit_hashes
from data_pipeline.preparation.tokenization import MIN_DOCUMENTS
from data_pipeline.preparation.work_folder import WorkFolder

LEAST_CORPUS = 8
"""Fewest documents of which two are held out for any fraction; with fewer, the user has to choose the fraction."""


def fill_held_out(
    work: WorkFolder,
    text: ExtractedText,
    reports: Sequence[ExtractionReport],
    validation_fraction: float,
    executor: Executor,
) -> ExtractedText:
    """Return the text with at least two documents held out.

    The text stays as it is if it has two, if none are to be held out, or if the corpus is too small. The two are those
    with the lowest hashes, so any larger fraction holds them out too.
    """
    held_out = sum(report.held_out for report in reports)
    documents = sum(report.counts["documents"] for report in reports)
    if validation_fraction == 0 or held_out >= MIN_DOCUMENTS or documents < LEAST_CORPUS:
        return text
    numbers = range(len(reports))
    records = (record for number in numbers for split in SPLITS for record in text.records(split, number))
    *_, highest = heapq.nsmallest(MIN_DOCUMENTS, (unit_hashes(record["identifier"])[0] for record in records))
    fraction = math.nextafter(highest, math.inf)
    executor.run("holding out", partial(_hold_out, work, text, fraction), len(reports), work.tasks("hold_out"))
    return work.text("text")


def _hold_out(work: WorkFolder, text: ExtractedText, fraction: float, number: int) -> None:
    """Write the files of a task again, with their documents in the splits of another fraction."""
    before = text.report(number)
    report = before.without_documents()
    with work.delivered() as scratch, ExitStack() as stack:
        filled = scratch.text("text")
        files = {s: stack.enter_context(filled.path(s, number).open("w", encoding="utf-8")) for s in SPLITS}
        for record in (record for split in SPLITS for record in text.records(split, number)):
            held_out = is_held_out(record["identifier"], fraction)
            copies = 1 if held_out else record["copies"]
            files["validation" if held_out else "train"].write(record_line({**record, "copies": copies}))
            report.add(record["title"], len(record["sentences"]), 0 if held_out else copies)
        filled.save_report(number, report)
