"""The links of a corpus as a graph: how often each page links to each entity.

Entities are the pages that are linked at least `min_count` times, the most linked first. A link to a redirect leads to
its target, as readers of the wiki are led: over one redirect, not over a chain of them.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.knowledge.entity_table import entity_titles, file_of, knowledge_of, read_titles
from data_pipeline.prepared.npy import npy, parse_columns, smallest
from data_pipeline.prepared.prepared_folder import PreparedFolder, open_folder

PAGES, LINKS = "pages", "links"
PageLinks = Iterable[tuple[str, Mapping[str, int]]]
"""Title of each page, and how often it links to each title."""
Redirects = Iterable[tuple[str, str]]
"""Titles that lead to another title, and that title."""


@dataclass(frozen=True, slots=True)
class LinkGraph:
    """Links from nodes to entities; nodes are the entities and, after them, the other pages that link to some.

    Attributes:
        titles: Titles of the entities.
        pages: Titles of the other pages.
        sources: Node of the page that each edge begins at, (edges,).
        targets: Entity that each edge ends at, (edges,).
        counts: Links of each edge, (edges,).
    """

    titles: list[str]
    pages: list[str]
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def num_nodes(self) -> int:
        """Number of entities and pages."""
        return len(self.titles) + len(self.pages)


def linked_entities(
    pages: PageLinks, redirects: Callable[[], Redirects], min_count: int
) -> tuple[list[str], dict[str, int]]:
    """Return the titles of the entities, and the row of the entity that each title leads to.

    Args:
        pages: Links of every page.
        redirects: Function that returns the redirects; it is called twice, so that they need not be in memory.
        min_count: Fewest links of an entity.

    Raises:
        ValueError: if no page has so many links.

    >>> links = [("A", {"Bern": 2, "Berne": 1}), ("B", {"Aare": 2, "Zoo": 1})]
    >>> linked_entities(links, lambda: [("Berne", "Bern"), ("Aar", "Aare"), ("Zoos", "Zoo")], min_count=2)
    (['Bern', 'Aare'], {'Bern': 0, 'Aare': 1, 'Berne': 0, 'Aar': 1})
    """
    linked = Counter[str]()
    for _, links in pages:
        linked.update(links)
    leads_to = {title: target for title, target in redirects() if title in linked}
    counts = Counter[str]()
    for title, count in linked.items():
        counts[leads_to.get(title, title)] += count
    kept = sorted((title for title, count in counts.items() if count >= min_count), key=lambda t: (-counts[t], t))
    if not kept:
        most = f"the most linked has {max(counts.values())}" if counts else "the text has no links to pages"
        raise ValueError(f"entities.min_count={min_count} leaves none of {len(counts)} linked pages; {most}")
    row_of = {title: row for row, title in enumerate(kept)}
    return kept, row_of | {title: row_of[target] for title, target in redirects() if target in row_of}


def link_graph(pages: PageLinks, titles: list[str], row_of: Callable[[str], int | None]) -> LinkGraph:
    """Return the graph of the links to entities, without the links of a page to itself.

    Args:
        pages: Links of every page.
        titles: Titles of the entities.
        row_of: Function that returns the row of the entity that a title leads to, None for a page that is none.
    """
    others: dict[str, int] = {}
    flat = array("q")  # source, target and count of one link after another: millions of tuples would take far more
    for title, links in pages:
        source = row_of(title)
        linked = ((row_of(target), count) for target, count in links.items())
        found = [(row, count) for row, count in linked if row is not None and row != source]
        for row, count in found:
            node = others.setdefault(title, len(titles) + len(others)) if source is None else source
            flat.extend((node, row, count))
    rows = np.frombuffer(flat, dtype=np.int64).reshape(-1, 3)
    edges, edge_of = np.unique(rows[:, 0] * len(titles) + rows[:, 1], return_inverse=True)  # (edges,), (rows,)
    counts = np.bincount(edge_of, rows[:, 2], len(edges)).astype(np.int64)
    return LinkGraph(titles, list(others), edges // len(titles), edges % len(titles), counts)


def encode_links(graph: LinkGraph) -> bytes:
    """Return the edges of a graph as three .npy files, one after the other: sources, targets, counts."""
    columns = (graph.sources, graph.targets, graph.counts)
    return b"".join(npy(smallest(column.astype(np.uint32))) for column in columns)


def read_link_graph(folder: PreparedFolder | str | Path) -> LinkGraph:
    """Return the link graph of a prepared folder.

    Raises:
        ValueError: if the folder has none, or a file is damaged; the message names the file.
    """
    source = open_folder(folder)
    knowledge = knowledge_of(source)
    titles = entity_titles(source)
    pages = read_titles(source, file_of(source, PAGES), knowledge.num_pages)
    file = file_of(source, LINKS)
    content = source.read_file(file)
    try:
        sources, targets, counts = parse_columns(content, ("sources", "targets", "counts"))
    except ValueError as error:
        raise ValueError(f"file {file.name} of {source} {error}") from None
    for name, nodes, most in (("source", sources, len(titles) + len(pages)), ("target", targets, len(titles))):
        if (highest := int(nodes.max(initial=0))) >= most:
            raise ValueError(f"file {file.name} of {source} has the {name} {highest}, the folder has {most}")
    return LinkGraph(titles, pages, sources, targets, counts)
