"""First half of preparation, group by group: input -> sentences, as JSON lines of one document each.

Dropped text is counted by reason. Held-out documents go to a separate file. The identifier of a document alone decides
whether it is held out and how often it is trained on.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from data_pipeline.corpora.bad_lines import BadLine
from data_pipeline.corpora.line_ends import plain_spaces
from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import Reader
from data_pipeline.preparation.document_filters import DocumentFilters
from data_pipeline.preparation.extracted_text import SPLITS, ExtractedText, ExtractionReport, record_line
from data_pipeline.preparation.sentences import split_sentences
from data_pipeline.records import Document, Dropped, Redirect

_SURROGATE = re.compile("[\ud800-\udfff]")
_UNUSUAL = re.compile("[\ud800-\udfff\u200b\ufeff]")


@dataclass(frozen=True, slots=True)
class InputGroup:
    """Parts of one source that one task reads.

    Attributes:
        reader: Reader of the source.
        parts: The parts, in order.
    """

    reader: Reader
    parts: tuple[Part, ...]


def group_parts(sources: Sequence[Reader], group_bytes: int) -> list[InputGroup]:
    """Group successive parts of each source to at least `group_bytes`; the number of workers does not matter.

    Raises:
        ValueError: A source has no part.
    """
    groups = []
    for reader in sources:
        parts: list[Part] = []
        size = 0
        of_source = reader.parts(group_bytes)
        if not of_source:
            raise ValueError(f"corpus {reader.name} names no rows: its files have none")
        for part in of_source:
            parts.append(part)
            size += group_bytes if part.bytes is None else part.bytes
            if size >= group_bytes:
                groups.append(InputGroup(reader, tuple(parts)))
                parts, size = [], 0
        if parts:
            groups.append(InputGroup(reader, tuple(parts)))
    return groups


def unit_hashes(identifier: str) -> tuple[float, float]:
    """Return two independent hashes of a document's identifier, as numbers in [0, 1)."""
    digest = hashlib.sha256(identifier.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:16], "big") / 2**64


def is_held_out(identifier: str, validation_fraction: float) -> bool:
    """Return whether a document goes to the validation split, by the hash of its identifier."""
    return unit_hashes(identifier)[0] < validation_fraction


def num_copies(identifier: str, weight: float) -> int:
    """Return how often a document is in the training split: two or three times for a weight of 2.5.

    >>> [num_copies("a", weight) for weight in (1, 2, 3.0)]
    [1, 2, 3]
    """
    return math.floor(weight) + (unit_hashes(identifier)[1] < weight % 1)


def extract_group(
    group: InputGroup, number: int, text: ExtractedText, validation_fraction: float, filters: DocumentFilters
) -> None:
    """Read one group of parts; write one file for each split, and the report."""
    report = ExtractionReport(Counter(bytes=sum(part.bytes or 0 for part in group.parts)))
    redirects: dict[str, str] = {}
    with ExitStack() as stack:
        files = {split: stack.enter_context(text.path(split, number).open("w", encoding="utf-8")) for split in SPLITS}
        for document in _documents(group, filters, report, redirects):
            sentences = document.paragraphs
            if not document.presplit:
                sentences = split_sentences(document.paragraphs, group.reader.language)
            if not sentences:
                report.counts["dropped: no text"] += 1
                continue
            report.removed.update(document.removed)
            held_out = is_held_out(document.identifier, validation_fraction)
            copies = 1 if held_out else num_copies(document.identifier, group.reader.weight)
            record: dict[str, Any] = {"identifier": document.identifier, "title": document.title, "copies": copies}
            if group.reader.links:
                record["links"] = document.links
            files["validation" if held_out else "train"].write(record_line({**record, "sentences": sentences}))
            report.add(document.title, len(sentences), 0 if held_out else copies)
    if group.reader.links:
        text.save_redirects(number, redirects)
    text.save_report(number, report)


def _documents(
    group: InputGroup, filters: DocumentFilters, report: ExtractionReport, redirects: dict[str, str]
) -> Iterator[Document]:
    """Yield the documents to keep; count the dropped ones by reason, and note the redirects."""
    fresh = filters.fresh()
    counts = report.counts
    for part in group.parts:
        for item in map(_storable, _items(group.reader, part, report)):
            if isinstance(item, Dropped):
                counts[f"dropped: {item.reason}"] += 1
                if isinstance(item, Redirect):
                    redirects[item.title] = item.target
            elif num_copies(item.identifier, group.reader.weight) == 0:
                counts[f"dropped: weight {group.reader.weight:g}"] += 1
            elif reason := fresh.reason_to_drop(formatted := fresh.formatted(item)):
                counts[f"dropped: {reason}"] += 1
            else:
                yield formatted


def _items(reader: Reader, part: Part, report: ExtractionReport) -> Iterator[Document | Dropped]:
    """Yield what a reader yields; bad lines and what is wrong with a file are noted, so that a pass finds them all."""
    try:
        for item in reader.read_part(part):
            if isinstance(item, BadLine):
                report.bad_lines.append(item)
                yield Dropped("bad line")
            else:
                yield item
    except ValueError as error:
        named = "" if part.name in str(error) else f"corpus {reader.name}: {part.name}: "
        report.bad_files.append(f"{named}{error}")


def _storable(item: Document | Dropped) -> Document | Dropped:
    """Replace lone surrogates, which JSON and XML can escape but UTF-8 cannot encode, and remove NUL characters.

    Invisible spaces between words become spaces.
    """
    if isinstance(item, Dropped):
        return item
    texts = [item.identifier, item.title, *item.paragraphs, *chain.from_iterable(item.links)]
    if not any("\0" in text or (not text.isascii() and _UNUSUAL.search(text)) for text in texts):
        return item
    identifier, title, *rest = (_SURROGATE.sub("\ufffd", text.replace("\0", "")) for text in texts)
    paragraphs, linked = rest[: len(item.paragraphs)], rest[len(item.paragraphs) :]
    kept = [spaced for text in paragraphs if (spaced := plain_spaces(text)).strip()]
    links = tuple(zip(linked[::2], linked[1::2], strict=True))
    return replace(item, identifier=identifier, title=title, paragraphs=kept, links=links)
