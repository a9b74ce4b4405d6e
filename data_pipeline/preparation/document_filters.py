"""Formatters and quality filters of datatrove, applied to documents as they are read."""

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from operator import ne
from typing import Any

from datatrove.data import Document as FilterDocument
from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result
from datatrove.pipeline.formatters.base import BaseFormatter

from data_pipeline.records import Document


@dataclass(frozen=True, slots=True)
class DocumentFilters:
    """Formatters and filters of datatrove in their order; the first filter that drops a document gives the reason.

    Attributes:
        filters: Filters by name; each judges one document at a time.
        settings: Settings of the filters, for the manifest.
        formatters: Formatters by name; each changes one paragraph at a time, before the filters see it.
        formatter_settings: Settings of the formatters, for the manifest.
    """

    filters: Mapping[str, BaseFilter] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    formatters: Mapping[str, BaseFormatter] = field(default_factory=dict)
    formatter_settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, filter in self.filters.items():
            if not isinstance(filter, BaseFilter):
                raise ValueError(f"filters.{name} must be a filter of datatrove; got {type(filter).__name__}")
        for name, formatter in self.formatters.items():
            if not isinstance(formatter, BaseFormatter):
                raise ValueError(f"formatters.{name} must be a formatter of datatrove; got {type(formatter).__name__}")

    def fresh(self) -> "DocumentFilters":
        """Return a copy in the initial state: some filters draw random numbers, and tasks must not depend on others."""
        return deepcopy(self)

    def formatted(self, document: Document) -> Document:
        """Return a document with its paragraphs as the formatters leave them; changed paragraphs are counted."""
        removed = Counter(document.removed)
        paragraphs = document.paragraphs
        for name, formatter in self.formatters.items():
            changed = [formatter.format(paragraph) for paragraph in paragraphs]
            removed[f"paragraph changed by {name}"] += sum(map(ne, changed, paragraphs))
            paragraphs = [paragraph for paragraph in changed if paragraph.strip()]
        return replace(document, paragraphs=paragraphs, removed=+removed) if self.formatters else document

    def reason_to_drop(self, document: Document) -> str:
        """Return the filter that drops a document and its reason, or "" if all filters keep it."""
        if not self.filters:
            return ""
        between = "\n" if document.presplit else "\n\n"
        paragraphs = (paragraph.replace("\n", " ") for paragraph in document.paragraphs)
        candidate = FilterDocument(between.join(paragraphs), document.identifier)
        for filter in self.filters.values():
            kept, reason = get_filter_result(filter.filter(candidate))
            if not kept:
                return f"{type(filter).__name__}: {reason}" if reason else type(filter).__name__
        return ""
