"""The values that pass between the stages of the pipeline; no stage hands another anything else.

    Document -> TokenizedDocument -> (shards) -> SegmentPair -> packing.PackedBatch
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
NO_LABEL = -100
"""The label of a position or pair that asks for no prediction (torch's `ignore_index`)."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text as a reader yields it, before sentence splitting.

    Attributes:
        identifier: Unique within the corpus and stable between runs; decides the split the document goes to.
        paragraphs: Blocks of running text; a sentence never crosses two of them.
        title: What a person calls the document; kept for attribution.
        presplit: True where every paragraph already is one sentence (google-research/bert's text format).
    """

    identifier: str
    paragraphs: list[str]
    title: str = ""
    presplit: bool = False


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


@dataclass(frozen=True, slots=True)
class SegmentPair:
    """One training example before special tokens and masks.

    Attributes:
        sample: Position of the example in the endless stream; the key of all its random numbers.
        segment_a: Token ids of the first segment, never empty.
        segment_b: Token ids of the second segment; empty for the single-segment formats.
        label: 0 when B really follows A, 1 when it is a random (NSP) or the swapped (SOP) segment,
            `NO_LABEL` for single-segment formats (Devlin et al., 2019, section 3.1).
    """

    sample: int
    segment_a: TokenIds
    segment_b: TokenIds
    label: int
