"""What the manifest says about the sources and the whole of a corpus, from the reports of all tasks."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice, takewhile
from pathlib import Path

import numpy as np

from data_pipeline.preparation.extracted_text import TITLES_LISTED, ExtractedText, ExtractionReport
from data_pipeline.preparation.extraction import InputGroup
from data_pipeline.preparation.health_counts import HealthCounts
from data_pipeline.preparation.tokenization import HELD_OUT_COPY, Tokenized
from data_pipeline.prepared.document_hashes import distinct_hashes
from data_pipeline.prepared.manifest import ShardEntry, SourceEntry
from data_pipeline.untrusted.escaping import printable

TITLE_BYTES = 1 << 24
"""Most bytes of titles in the manifest; every source has an equal share."""
LEFT_ASIDE = "file left aside: "
"""Begin of the reason that counts files which a reader does not take; their kind follows."""
REMOVED_LISTED = 10
"""Kinds of removed pieces in the health table, the commonest first."""


def source_entries(
    groups: list[InputGroup],
    reports: Sequence[ExtractionReport],
    tokenized: Sequence[Tokenized],
    text: ExtractedText,
) -> list[SourceEntry]:
    """Return the entry of each source in the manifest; it lists the first titles, and the shards hold all of them.

    Args:
        groups: What each task of extraction read.
        reports: Report of each task of extraction.
        tokenized: Results of all tasks of tokenization.
        text: The extracted text, with the titles of each task.
    """
    entries = []
    readers = {group.reader.name: group.reader for group in groups}
    for reader in readers.values():
        of_source = [number for number, group in enumerate(groups) if group.reader.name == reader.name]
        counts = sum((reports[number].counts for number in of_source), Counter())
        dropped = Counter({r.removeprefix("dropped: "): n for r, n in counts.items() if r.startswith("dropped: ")})
        dropped.update({f"{LEFT_ASIDE}{printable(kind)}": number for kind, number in reader.left_aside().items()})
        for task in tokenized:
            dropped.update(task.dropped.get(reader.name, {}))
        titles = _listed(text.titles(of_source), TITLE_BYTES // len(readers))
        about = (reader.name, reader.licence, reader.origin, counts["documents"], titles, reader.weight)
        entries.append(SourceEntry(*about, dropped=dict(sorted(dropped.items()))))
    return entries


def _listed(titles: Iterable[str], most_bytes: int) -> list[str]:
    """Return the first titles, no more than the manifest may list of a source."""
    sizes = ((title, len(json.dumps(title, ensure_ascii=False).encode())) for title in islice(titles, TITLES_LISTED))
    totals = accumulate(sizes, lambda total, each: (each[0], total[1] + each[1]))
    return [title for title, _ in takewhile(lambda total: total[1] <= most_bytes, totals)]


def corpus_figures(
    folder: Path,
    splits: Mapping[str, Sequence[ShardEntry]],
    tokenized: Sequence[Tokenized],
    groups: Sequence[InputGroup],
    reports: Sequence[ExtractionReport],
) -> dict[str, object]:
    """Return the figures of the health table (`prepared.health`).

    Args:
        folder: Folder of the shards.
        splits: Shards of each split.
        tokenized: Results of all tasks of tokenization.
        groups: What each task of extraction read.
        reports: Report of each task of extraction.
    """
    counts = HealthCounts()
    for task in tokenized:
        counts.merge(task.health)
    distinct, held_out = (distinct_hashes(folder, splits[split]) for split in ("train", "validation"))
    train = sum(entry.documents for entry in splits["train"])
    once = train - sum(sum(report.passes[1:]) for report in reports)  # without the repeats of a weight above 1
    documents, held_out_documents = Counter[str](), Counter[str]()
    removed = sum((report.removed for report in reports), Counter[str]())
    for group, report in zip(groups, reports, strict=True):
        documents[group.reader.name] += report.counts["documents"]
        held_out_documents[group.reader.name] += report.held_out
    for task in tokenized:
        held_out_documents.subtract({name: counts[HELD_OUT_COPY] for name, counts in task.dropped.items()})
    return {
        **counts.figures(),
        "copy_share": max(0, once - len(distinct)) / max(once, 1),
        "removed": dict(removed.most_common(REMOVED_LISTED)),
        "distinct_documents": len(np.union1d(distinct, held_out)),
        "held_out_documents": sum(entry.documents for entry in splits["validation"]),
        "held_out_tokens": sum(entry.tokens for entry in splits["validation"]),
        "held_out_in_training": int(np.isin(held_out, distinct).sum()),
        "held_out_share": {name: held_out_documents[name] / max(number, 1) for name, number in documents.items()},
    }
