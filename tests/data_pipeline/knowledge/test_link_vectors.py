"""Vectors of entities: a truncated SVD of positive pointwise mutual information, the same on every run."""

import numpy as np
import pytest
import torch

from data_pipeline.knowledge.link_graph import LinkGraph
from data_pipeline.knowledge.link_vectors import link_vectors, mutual_information


def make_graph(entities: int = 30, pages: int = 20, edges: int = 200, seed: int = 0) -> LinkGraph:
    numbers = np.random.default_rng(seed)
    ends = sorted({(int(s), int(t)) for s, t in numbers.integers(0, [entities + pages, entities], size=(edges, 2))})
    sources, targets = np.array([(s, t) for s, t in ends if s != t]).T
    counts = numbers.integers(1, 5, size=len(sources))
    return LinkGraph([f"e{i}" for i in range(entities)], [f"p{i}" for i in range(pages)], sources, targets, counts)


def dense_information(graph: LinkGraph) -> np.ndarray:
    """The definition, entry by entry."""
    links = np.zeros((graph.num_nodes, graph.num_nodes))
    for source, target, count in zip(graph.sources, graph.targets, graph.counts, strict=True):
        links[source, target] += count
        links[target, source] += count
    information = np.zeros_like(links)
    for i, j in zip(*links.nonzero(), strict=True):
        joint, first, second = links[i, j], links[i].sum(), links[j].sum()
        information[i, j] = max(0.0, np.log(joint * links.sum() / (first * second)))
    return information


def test_mutual_information_is_that_of_its_definition() -> None:
    graph = make_graph()
    information = dense_information(graph)
    np.testing.assert_allclose(mutual_information(graph).to_dense().numpy(), information, atol=1e-12)
    assert (information > 0).sum() > 100


def test_vectors_are_those_of_the_largest_singular_values() -> None:
    graph = make_graph()
    information = dense_information(graph)
    _, values, _ = np.linalg.svd(information)
    vectors = link_vectors(graph, 8, seed=0)
    assert vectors.dtype == np.float32
    # The graph has all nodes as entities here, so the lengths of the columns are known: |U sqrt(S)|^2 = S.
    whole = LinkGraph([*graph.titles, *graph.pages], [], graph.sources, graph.targets, graph.counts)
    table = link_vectors(whole, 8, seed=0)
    np.testing.assert_allclose((table**2).sum(axis=0), values[:8], rtol=0.02)
    np.testing.assert_array_equal(table[:30], vectors)
    np.testing.assert_allclose(table.T @ table, np.diag(values[:8]), atol=0.05 * values[0])
    residual = np.linalg.norm(information - (table / values[:8]) @ (table.T @ information), 2)
    assert residual < 1.1 * values[8]


def test_all_singular_values_give_the_matrix_and_zeros_beyond_them() -> None:
    graph = make_graph(entities=12, pages=0, edges=60)
    left, values, right = np.linalg.svd(dense_information(graph))
    table = link_vectors(graph, 20, seed=0)
    assert not table[:, 12:].any()
    np.testing.assert_allclose(table @ table.T, (left * values) @ left.T, atol=1e-4)
    assert (table[np.abs(table).argmax(axis=0)[:12], np.arange(12)] >= 0).all()
    assert right.shape == (12, 12)


def test_pages_that_are_linked_together_are_near_each_other() -> None:
    sources = np.repeat(np.arange(20, 40), 5)
    targets = np.concatenate([np.random.default_rng(i).choice(10, 5, replace=False) + 10 * (i % 2) for i in range(20)])
    graph = LinkGraph([f"e{i}" for i in range(20)], [f"p{i}" for i in range(20)], sources, targets, np.ones(100, int))
    table = link_vectors(graph, 4, seed=0)
    table = table / np.linalg.norm(table, axis=1, keepdims=True)
    similar = table @ table.T
    inside = np.add.outer(np.arange(20) // 10, np.arange(20) // 10) != 1
    assert similar[inside].mean() > similar[~inside].mean() + 0.5


@pytest.mark.parametrize("threads", [1, 2])
def test_the_seed_alone_decides_and_nothing_else_is_changed(threads: int) -> None:
    graph = make_graph()
    expected = link_vectors(graph, 6, seed=1)
    before, random = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(link_vectors(graph, 6, seed=1), expected)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.get_rng_state(), random)
    assert (link_vectors(graph, 6, seed=2) != expected).any()
