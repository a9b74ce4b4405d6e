"""Paths between two concepts, beside a walk through the whole of a small random graph."""

from collections.abc import Iterator

import numpy as np
import pytest

from data_pipeline.knowledge import paths
from data_pipeline.knowledge.knowledge_graph import KnowledgeGraph, build_graph
from data_pipeline.knowledge.paths import GraphPath, PathFinder, PathSearch

CONCEPTS, RELATIONS, TRIPLES = 12, 3, 30


def random_graph(seed: int) -> KnowledgeGraph:
    """A graph in which several relations may link the same two concepts."""
    draw = np.random.default_rng(seed)
    ends = draw.permuted(np.tile(np.arange(CONCEPTS), (TRIPLES, 1)), axis=1)[:, :2]
    triples = np.column_stack([ends[:, 0], draw.integers(RELATIONS, size=TRIPLES), ends[:, 1]]).astype(np.int32)
    names = [f"c{number:02}" for number in range(CONCEPTS)]
    weights = draw.integers(1, 4, size=TRIPLES).astype(np.float32)
    return build_graph(names, [f"r{number}" for number in range(RELATIONS)], triples, weights)


def links_of(graph: KnowledgeGraph, concept: int) -> Iterator[tuple[int, int, float]]:
    for link in range(graph.offsets[concept], graph.offsets[concept + 1]):
        yield int(graph.labels[link]), int(graph.neighbors[link]), float(graph.weights[link])


def walked(
    graph: KnowledgeGraph, path: GraphPath, weight: float, target: int, search: PathSearch
) -> Iterator[tuple[float, GraphPath]]:
    """Every path that begins with `path` and leads to the target, with its weight."""
    is_hub = len(path) > 1 and len(list(links_of(graph, path[-1]))) > search.max_degree
    if len(path) // 2 == search.max_hops or is_hub:
        return
    for label, end, more in links_of(graph, path[-1]):
        if end == target:
            yield weight + more, (*path, label, end)
        elif end not in path[::2]:
            yield from walked(graph, (*path, label, end), weight + more, target, search)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "search",
    [
        PathSearch(1, 99),
        PathSearch(2, 99),
        PathSearch(3, 9999),
        PathSearch(4, 9999),
        PathSearch(3, 4),
        PathSearch(3, 99, 5),
    ],
    ids=str,
)
def test_paths_are_those_of_a_walk_through_the_graph(seed: int, search: PathSearch) -> None:
    graph, number = random_graph(seed), 0
    find = PathFinder(graph, search)
    for source in range(3):
        for target in range(CONCEPTS):
            every = list(walked(graph, (source,), 0.0, target, search)) if source != target else []
            every.sort(key=lambda each: (len(each[1]), -each[0], each[1]))
            assert find(source, target) == [path for _, path in every][: search.max_paths]
            number += len(every)
    assert number > 3


def test_a_path_back_has_the_inverse_relations() -> None:
    graph = random_graph(0)
    find = PathFinder(graph, PathSearch(2, 99))
    for path in find(0, 5):
        back = [graph.inverse(each) if place % 2 else each for place, each in enumerate(path)]
        assert tuple(reversed(back)) in find(5, 0)


def test_a_concept_with_too_many_links_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_BEGUN", 1)
    graph = random_graph(0)
    found = PathFinder(graph, PathSearch(3, 99))(0, 5)
    assert all(len(path) == 3 for path in found)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("max_hops", 0, "a whole number"), ("max_hops", 5, "from 1 to 4; got 5"), ("max_paths", 1.5, "a whole number")],
)
def test_settings_that_cannot_be(name: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=rf"task\.graph\.{name} must be {said}"):
        PathSearch(**{name: value})
