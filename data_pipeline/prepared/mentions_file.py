"""The mentions of entities in the documents of a shard, in a small file beside it.

`<shard>.mentions` is three .npy files, one after the other: the first token of each mention, its number of tokens, and
the row of its entity in the table of the folder. Mentions are in the order of the text and do not overlap. A shard
without mentions has no such file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.prepared.file_hashes import checked_content
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.npy import npy, parse_columns, smallest
from data_pipeline.records import TokenizedDocument

MENTIONS = "mentions"
"""Kind of the file beside a shard."""


@dataclass(frozen=True, slots=True)
class Mentions:
    """Mentions in a run of tokens, ascending, which do not overlap.

    Attributes:
        begins: First token of each mention, (mentions,).
        sizes: Tokens of each mention, (mentions,).
        entities: Row of each entity in the table of the folder, (mentions,).
    """

    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]
    entities: NDArray[np.int64]

    @staticmethod
    def join(parts: Sequence["Mentions"], bases: NDArray[np.int64]) -> "Mentions":
        """Concatenate the mentions of several runs of tokens; run i begins at token `bases[i]`, (parts,)."""
        begins = [part.begins + base for part, base in zip(parts, bases, strict=True)]
        arrays = (begins, [part.sizes for part in parts], [part.entities for part in parts])
        return Mentions(*(np.concatenate(each) for each in arrays))


NO_MENTIONS = Mentions(*(np.zeros(0, dtype=np.int64),) * 3)


def encode_mentions(documents: Sequence[TokenizedDocument]) -> bytes:
    """Return the content of the mentions file of a shard of these documents."""
    tokens = [sum(map(len, document.sentences)) for document in documents]
    bases = np.cumsum([0, *tokens])[:-1].tolist()  # (documents,)
    rows = [
        (base + mention.begin, mention.size, mention.entity)
        for base, document in zip(bases, documents, strict=True)
        for mention in document.mentions
    ]
    return b"".join(npy(smallest(column)) for column in np.array(rows, dtype=np.uint32).reshape(-1, 3).T)


def parse_mentions(content: bytes, where: str, entry: ShardEntry, num_entities: int) -> Mentions:
    """Return the mentions of a shard from its mentions file.

    Args:
        content: The whole file.
        where: Its path or URL, for errors.
        entry: The manifest's entry of the shard.
        num_entities: Entities of the table of the folder.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    content = checked_content(content, where, entry.side_files[MENTIONS].sha256)
    try:
        mentions = Mentions(*parse_columns(content, ("begins", "sizes", "entities")))
    except ValueError as error:
        raise ValueError(f"file {where} {error}") from None
    _check_values(mentions, where, entry, num_entities)
    return mentions


def _check_values(mentions: Mentions, where: str, entry: ShardEntry, num_entities: int) -> None:
    ends = mentions.begins + mentions.sizes  # (mentions,)
    if not mentions.sizes.all():
        raise ValueError(f"file {where} has an empty mention")
    if (mentions.begins[1:] < ends[:-1]).any():
        raise ValueError(f"file {where} has mentions that overlap or are out of order")
    if (last := int(ends.max(initial=0))) > entry.tokens:
        raise ValueError(f"file {where} has a mention that ends at token {last}, the shard has {entry.tokens}")
    if (highest := int(mentions.entities.max(initial=-1))) >= num_entities:
        raise ValueError(f"file {where} has the entity {highest}, the folder has {num_entities} entities")
