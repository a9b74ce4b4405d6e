"""Paths of a knowledge graph between two concepts, found without walking through the whole graph."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_pipeline.knowledge.knowledge_graph import Ids, KnowledgeGraph
from data_pipeline.tasks.encoded import taken_slices
from data_pipeline.whole_numbers import check_whole_number

GraphPath = tuple[int, ...]
"""Concept, label, concept, label, ..., concept."""
MOST_HOPS = 4
MOST_BEGUN = 1 << 20
"""Begun paths of one pair that are looked at; only concepts with very many links have more."""
KEPT = 1024
"""Concepts whose surroundings are kept in memory."""


@dataclass(frozen=True, slots=True)
class PathSearch:
    """Which paths are looked for.

    Attributes:
        max_hops: Most links of a path; 3 are the 4 concepts of Lin et al. (2019, section 3.2).
        max_paths: Most paths between two concepts.
        max_degree: Most links of a concept that a path passes through; paths through a hub say little.
    """

    max_hops: int = 3
    max_paths: int = 8
    max_degree: int = 256

    def __post_init__(self) -> None:
        for name in ("max_hops", "max_paths", "max_degree"):
            check_whole_number(f"task.graph.{name}", getattr(self, name))
        if self.max_hops > MOST_HOPS:
            raise ValueError(f"task.graph.max_hops must be from 1 to {MOST_HOPS}; got {self.max_hops}")


class PathFinder:
    """Find the paths between two concepts: shorter ones first, then heavier ones, then by the order of names.

    No path visits a concept twice.

    Args:
        graph: The graph.
        search: What is looked for.
    """

    def __init__(self, graph: KnowledgeGraph, search: PathSearch) -> None:
        self._graph = graph
        self._search = search
        self._within = lru_cache(maxsize=KEPT)(self._surroundings)

    def __call__(self, source: int, target: int) -> list[GraphPath]:
        """Return at most `max_paths` paths from a concept to another; none from a concept to itself."""
        begun, weights = np.array([[source]]), np.zeros(1, dtype=np.float32)
        within, found = self._within(target), list[GraphPath]()
        for hops in range(1, self._search.max_hops + 1):
            found += self._ended(begun, weights, target)[: self._search.max_paths - len(found)]
            if hops == self._search.max_hops or len(found) == self._search.max_paths or not len(begun):
                break
            begun, weights = self._longer(begun, weights)
            ends = begun[:, -1]
            passes = (self._graph.degrees(ends) <= self._search.max_degree) & (ends != target)
            passes &= np.isin(ends, within[self._search.max_hops - hops])
            begun, weights = begun[passes], weights[passes]
        return found if source != target else []

    def _ended(self, begun: NDArray[np.int64], weights: NDArray[np.float32], target: int) -> list[GraphPath]:
        """Return begun paths, (paths, 2 hops + 1), with the links that lead from their ends to the target, in order."""
        links = np.arange(self._graph.offsets[target], self._graph.offsets[target + 1])
        neighbors = self._graph.neighbors[links]  # (links of the target,), ascending
        first = np.searchsorted(neighbors, begun[:, -1])
        counts = np.searchsorted(neighbors, begun[:, -1], side="right") - first
        rows = np.repeat(np.arange(len(begun)), counts)  # (paths,)
        closing = links[np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) + first[rows]]
        labels = self._graph.inverse(self._graph.labels[closing])
        paths = np.column_stack([begun[rows], labels, np.full(len(rows), target)])
        order = np.lexsort((*paths.T[::-1], -(weights[rows] + self._graph.weights[closing])))
        return [tuple(path) for path in paths[order[: self._search.max_paths]].tolist()]

    def _longer(
        self, begun: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return begun paths with one more link each, (paths, 2 hops + 3), and their weights."""
        degrees = self._graph.degrees(begun[:, -1])
        fits = np.cumsum(degrees) <= MOST_BEGUN
        begun, weights, degrees = begun[fits], weights[fits], degrees[fits]
        links, _ = taken_slices(self._graph.offsets, begun[:, -1])  # (longer paths,)
        rows = np.repeat(np.arange(len(begun)), degrees)
        ends = self._graph.neighbors[links]
        is_new = (begun[rows, ::2] != ends[:, None]).all(axis=1)
        rows, links, ends = rows[is_new], links[is_new], ends[is_new]
        longer = np.column_stack([begun[rows], self._graph.labels[links], ends])
        return longer, weights[rows] + self._graph.weights[links]

    def _surroundings(self, target: int) -> list[Ids]:
        """Return the concepts from which so many links lead to the target at most, by the number of links, from 0."""
        levels = [np.array([target])]
        for hops in range(1, self._search.max_hops):
            passes = self._graph.degrees(levels[-1]) <= self._search.max_degree if hops > 1 else np.array([True])
            links, _ = taken_slices(self._graph.offsets, levels[-1][passes])
            levels.append(np.union1d(levels[-1], self._graph.neighbors[links]))
        return levels
