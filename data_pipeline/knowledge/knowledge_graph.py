"""A knowledge graph in memory: concepts, relations, and the links of every concept to others, as arrays."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Labels = TypeVar("Labels", int, Ids)


def words_of(text: str) -> list[str]:
    """Return the words of a text or of the name of a concept: lower-case, without punctuation; _ separates words.

    >>> words_of("A Hot_Dog, please!")
    ['a', 'hot', 'dog', 'please']
    """
    return re.findall(r"\w+", unicodedata.normalize("NFC", text).lower().replace("_", " "))


@dataclass(frozen=True, slots=True, eq=False)
class KnowledgeGraph:
    """Links between concepts; each triple is a link from its head to its tail and, inverted, one from tail to head.

    The arrays are sorted by concept, neighbor and relation, so the order of a file changes nothing.

    Attributes:
        concepts: Names, sorted; their places are the ids.
        relations: Names, sorted. The inverse of relation r is r + len(relations).
        offsets: First link of each concept, and the end of the last, (concepts + 1,).
        neighbors: The concept that a link leads to, (links,).
        labels: Relation of a link, or the inverse of one, (links,).
        weights: Weight of a link, float32, (links,).
        sha256: Hash of all that.
    """

    concepts: list[str]
    relations: list[str]
    offsets: Ids
    neighbors: Ids
    labels: Ids
    weights: NDArray[np.float32]
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(json.dumps([self.concepts, self.relations]).encode())
        for array in (self.offsets, self.neighbors, self.labels):
            digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.weights, dtype="<f4").tobytes())
        object.__setattr__(self, "sha256", digest.hexdigest())

    def degrees(self, concepts: Ids) -> Ids:
        """Return how many links concepts have, in the shape of `concepts`."""
        return self.offsets[concepts + 1] - self.offsets[concepts]

    def inverse(self, labels: Labels) -> Labels:
        """Return the labels of links that are read from the other end."""
        return (labels + len(self.relations)) % (2 * len(self.relations))


def build_graph(
    names: Iterable[str], relations: Iterable[str], triples: NDArray[np.int32], weights: NDArray[np.float32]
) -> KnowledgeGraph:
    """Return the graph of triples; of triples that are there more than once, the largest weight counts.

    Args:
        names: Names of the concepts, in the order of the numbers in `triples`.
        relations: Names of the relations, likewise.
        triples: Head, relation and tail, (triples, 3).
        weights: Weights, (triples,).
    """
    concepts, concept_ids = _sorted_ids(names)
    kinds, kind_ids = _sorted_ids(relations)
    head, label, tail = concept_ids[triples[:, 0]], kind_ids[triples[:, 1]], concept_ids[triples[:, 2]]
    begin, end = np.concatenate([head, tail]), np.concatenate([tail, head])  # (2 * triples,)
    labels, both = np.concatenate([label, label + len(kinds)]), np.concatenate([weights, weights])
    order = np.lexsort((-both, labels, end, begin))
    begin, end, labels, both = (each[order] for each in (begin, end, labels, both))
    is_new = np.ones(len(begin), dtype=bool)
    is_new[1:] = (np.diff(begin) != 0) | (np.diff(end) != 0) | (np.diff(labels) != 0)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(begin[is_new], minlength=len(concepts)))])
    return KnowledgeGraph(concepts, kinds, offsets, end[is_new], labels[is_new], both[is_new])


def _sorted_ids(names: Iterable[str]) -> tuple[list[str], Ids]:
    """Return names sorted, and the place of each of them there."""
    given = list(names)
    order = sorted(range(len(given)), key=given.__getitem__)
    places = np.empty(len(given), dtype=np.int64)
    places[order] = np.arange(len(given))
    return [given[row] for row in order], places
