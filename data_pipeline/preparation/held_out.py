"""A held-out split that pairs can be made of: where the fraction of a small corpus is too little, two documents."""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from data_pipeline.preparation.executors import Executor
from data_pipeline.preparation.extracted_text import SPLITS, ExtractedText, ExtractionReport, record_line
from data_pipeline.preparation.extraction import is_held_out, unit_hashes
from data_pipeline.preparation.tokenization import MIN_DOCUMENTS
from data_pipeline.preparation.work_folder import WorkFolder

LEAST_CORPUS = 8
"""Documents of which two are held out whatever the fraction; of fewer the user has to choose."""


def fill_held_out(
    work: WorkFolder,
    text: ExtractedText,
    reports: Sequence[ExtractionReport],
    validation_fraction: float,
    executor: Executor,
) -> ExtractedText:
    """Return the text with two documents held out, or as it is where it has them, wants none or is too small.

    They are those of the lowest hashes, so a larger fraction holds them out too.
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
    """Write a file again with its documents in the splits of another fraction."""
    before = text.report(number)
    report = ExtractionReport(Counter({**before.counts, "documents": 0, "sentences": 0}))
    with work.delivered() as own, ExitStack() as stack:
        filled = own.text("text")
        files = {s: stack.enter_context(filled.path(s, number).open("w", encoding="utf-8")) for s in SPLITS}
        for record in (record for split in SPLITS for record in text.records(split, number)):
            held_out = is_held_out(record["identifier"], fraction)
            copies = 1 if held_out else record["copies"]
            files["validation" if held_out else "train"].write(record_line({**record, "copies": copies}))
            report.add(record["title"], len(record["sentences"]), 0 if held_out else copies)
        filled.save_report(number, report)
