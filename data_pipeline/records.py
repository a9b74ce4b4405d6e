"""The values that pass between the stages of preparation: Document -> TokenizedDocument -> shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
        links: Links of the kept text in its order, each as the text it shows and the title of its page.
    """

    identifier: str
    paragraphs: list[str]
    title: str = ""
    presplit: bool = False
    removed: Mapping[str, int] = field(default_factory=dict, compare=False)
    links: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A document, or part of one, that a reader left out, and the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Redirect(Dropped):
    """A page without text, whose title is another title of a page.

    Attributes:
        title: Title of the page.
        target: Title of the page that readers are sent to.
    """

    title: str
    target: str


class Mention(NamedTuple):
    """Words of a document that name an entity.

    Attributes:
        begin: First token, counted from the begin of the document.
        size: Number of tokens.
        entity: Row of the entity in the table of the prepared folder.
    """

    begin: int
    size: int
    entity: int


@dataclass(frozen=True, slots=True)
class TokenizedDocument:
    """One document as token ids without special tokens.

    Attributes:
        identifier: The `Document.identifier` it was made from.
        sentences: Token ids of each sentence; none is empty.
        title: The `Document.title`.
        mentions: Mentions of entities, ascending, which do not overlap.
    """

    identifier: str
    sentences: list[list[int]] = field(default_factory=list)
    title: str = ""
    mentions: Sequence[Mention] = ()
