"""Files of triples -> a knowledge graph.

A line has head, relation and tail, and may have a weight; tabs separate them, or commas as in a CSV. Files of
ConceptNet are read as they are: its assertions, which have five columns, and concepts and relations that are written as
/c/en/dog and /r/IsA (Speer et al., 2017).
"""

import csv
import logging
import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_pipeline.knowledge.knowledge_graph import KnowledgeGraph, build_graph, words_of
from data_pipeline.untrusted.bounded_json import parse_object
from data_pipeline.untrusted.numbered_lines import MAX_LINE_BYTES, numbered_lines
from data_pipeline.untrusted.typed_fields import LARGEST, shown
from data_pipeline.whole_numbers import number_of

log = logging.getLogger(__name__)
MOST_TRIPLES = 1 << 23
"""Most triples of a graph; ConceptNet has 3.4 million in English."""
MOST_NAME = 256
"""Most characters of a name; longer ones are no concepts that a text mentions."""
_CONCEPT, _RELATION = "/c/", "/r/"
_HEADER = ["head", "relation", "tail"]


def read_triples(path: Path, language: str = "en") -> KnowledgeGraph:
    """Return the graph of a file.

    Names of concepts are compared as `words_of` returns them, so Hot_Dog and "hot dog" are one concept. Links of a
    concept to itself, names without a letter or digit, and concepts of ConceptNet in other languages are left out, and
    one line says how many.

    Args:
        path: The file, UTF-8.
        language: Language of the concepts of ConceptNet that are read, in its code.

    Raises:
        ValueError: naming the file, and the line at fault if there is one.
    """
    table = _Table(language)
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        fields = _fields(line, where)
        if number > 1 or [each.strip().lower() for each in fields[:3]] != _HEADER:
            table.add(fields, where)
    if not table.weights:
        raise ValueError(f"{path} holds no triples{table.left_out_of()}")
    log.info("%s: %s triples of %s concepts%s", path, *table.sizes(), table.left_out_of())
    triples = np.frombuffer(table.triples, dtype=np.int32).reshape(-1, 3)
    return build_graph(table.concepts, table.relations, triples, np.frombuffer(table.weights, dtype=np.float32))


@dataclass(slots=True)
class _Table:
    """What has been read so far; 16 bytes a triple, and each name once."""

    language: str
    concepts: dict[str, int] = field(default_factory=dict)
    relations: dict[str, int] = field(default_factory=dict)
    triples: "array[int]" = field(default_factory=lambda: array("i"))
    weights: "array[float]" = field(default_factory=lambda: array("f"))
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, fields: list[str], where: str) -> None:
        """Take the triple of a line."""
        (head, relation, tail), weight = _triple(fields, where)
        ends = [_concept(name, where) for name in (head, tail)]
        if any(language not in (None, self.language) for language, _ in ends):
            self.left_out["in another language"] += 1
            return
        begin, end = (" ".join(words_of(name)) for _, name in ends)
        if not begin or not end:
            self.left_out["without a letter or digit"] += 1
        elif begin == end:
            self.left_out["of a concept with itself"] += 1
        elif len(self.weights) == MOST_TRIPLES:
            raise ValueError(f"{where} is triple {MOST_TRIPLES + 1}; a graph may have {MOST_TRIPLES}")
        else:
            kind = self.relations.setdefault(_relation(relation, where), len(self.relations))
            numbers = [self.concepts.setdefault(name, len(self.concepts)) for name in (begin, end)]
            self.triples.extend((numbers[0], kind, numbers[1]))
            self.weights.append(weight)

    def sizes(self) -> tuple[str, str]:
        """Return how many triples and concepts there are, as text."""
        return f"{len(self.weights):,}", f"{len(self.concepts):,}"

    def left_out_of(self) -> str:
        """Return what was left out, as the end of a sentence."""
        said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.left_out.items()))
        return f"; left out: {said}" if said else ""


def _fields(line: str, where: str) -> list[str]:
    if "\t" in line:
        return line.split("\t")
    try:
        csv.field_size_limit(MAX_LINE_BYTES)
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(f"{where} is not a record of a CSV: {error}") from error


def _triple(fields: list[str], where: str) -> tuple[list[str], float]:
    """Return head, relation and tail as they are written, and the weight."""
    if len(fields) == 5 and fields[1].startswith(_RELATION):  # ConceptNet: assertion, relation, head, tail, JSON
        about = parse_object(fields[4], where)
        return [fields[2], fields[1], fields[3]], _weight(about.get("weight", 1.0), where)
    if len(fields) not in (3, 4):
        raise ValueError(
            f"{where} has {number_of(len(fields), 'field')}; a triple has 3, head, relation and tail, and a "
            "fourth for its weight"
        )
    names = [name.strip() for name in fields[:3]]
    if names[0].startswith(_RELATION):
        names[:2] = names[1::-1]
    return names, _weight(fields[3] if len(fields) == 4 else 1.0, where)


def _weight(value: object, where: str) -> float:
    try:
        weight = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        weight = math.nan
    if not 0 < weight <= LARGEST:
        raise ValueError(f"{where} has the weight {shown(value)}, which must be a number above 0")
    return weight


def _concept(name: str, where: str) -> tuple[str | None, str]:
    """Return the language of a concept if it is written as ConceptNet writes it, else None; and its name."""
    if not name:
        raise ValueError(f"{where} has an empty head or tail")
    if len(name) > MOST_NAME:
        raise ValueError(f"{where} has a name of {len(name)} characters; a concept has at most {MOST_NAME}")
    if not name.startswith(_CONCEPT):
        return None, name
    parts = name.split("/")  # "", c, language, name, and senses
    if len(parts) < 4:
        raise ValueError(f"{where} has {shown(name)}, which is no concept of ConceptNet, such as /c/en/dog")
    return parts[2], parts[3]


def _relation(name: str, where: str) -> str:
    relation = name.removeprefix(_RELATION)
    if not relation or len(relation) > MOST_NAME:
        raise ValueError(f"{where} has the relation {shown(name)}, which must have 1 to {MOST_NAME} characters")
    return relation
