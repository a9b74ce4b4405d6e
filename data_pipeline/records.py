"""The values that pass between the stages of preparation: Document -> TokenizedDocument -> shards."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
NO_LABEL = -100
"""The label of a position or pair without a prediction (torch's `ignore_index`)."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text as a reader yields it, before sentence splitting.

    Attributes:
        identifier: Unique within the corpus and stable between runs; decides the split the document goes to.
        paragraphs: Blocks of running text, which may hold line feeds; a sentence never crosses two of them.
        title: What a person calls the document; kept for attribution.
        presplit: True if every paragraph already is one sentence (google-research/bert's text format).
        removed: Numbers of pieces that cleaning took out of the kept text, by kind.
    """

    identifier: str
    paragraphs: list[str]
    title: str = ""
    presplit: bool = False
    removed: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A document, or part of one, that a reader left out, and the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class TokenizedDocument:
    """One document as token ids without special tokens.

    Attributes:
        identifier: The `Document.identifier` it was made from.
        sentences: Token ids of each sentence; none is empty.
        title: The `Document.title`.
    """

    identifier: str
    sentences: list[list[int]] = field(default_factory=list)
    title: str = ""
