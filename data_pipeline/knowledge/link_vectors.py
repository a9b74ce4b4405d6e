"""Vectors of entities from the graph of their links: pages that are linked from the same pages have similar vectors.

The matrix of the positive pointwise mutual information of linked pages is factorized, which is what training vectors
with negative samples approximates (Levy and Goldberg, 2014, "Neural word embedding as implicit matrix factorization",
section 5). No training loop is needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_pipeline.knowledge.link_graph import LinkGraph

OVERSAMPLED = 10
"""Singular vectors beyond those asked for, which make these exact (Halko et al., 2011, section 4.2)."""
POWER_ITERATIONS = 4


def link_vectors(graph: LinkGraph, size: int, seed: int) -> NDArray[np.float32]:
    """Return the vectors of the entities of a graph, (num_entities, size).

    A vector is a row of U sqrt(S) of the truncated singular value decomposition U S V', the symmetric choice of Levy
    and Goldberg. The first numbers are those of the largest singular values; beyond the rank of the matrix they are 0.

    Args:
        graph: The links; their direction does not matter here.
        size: Numbers of a vector.
        seed: Seed of the random projection.
    """
    information = mutual_information(graph)
    rank = min(size, graph.num_nodes)
    with _repeatable(seed):
        left, values, _ = torch.svd_lowrank(information, min(size + OVERSAMPLED, graph.num_nodes), POWER_ITERATIONS)
    vectors = left[:, :rank] * values[:rank].sqrt()  # (nodes, rank)
    largest = vectors.abs().argmax(dim=0, keepdim=True)  # (1, rank)
    vectors = vectors * vectors.gather(0, largest).sign()  # the signs of singular vectors are arbitrary
    table = np.zeros((len(graph.titles), size), dtype=np.float32)
    table[:, :rank] = vectors[: len(graph.titles)].numpy()
    return table


def mutual_information(graph: LinkGraph) -> Tensor:
    """Return the positive pointwise mutual information of linked nodes, sparse float64, (nodes, nodes).

    It is max(0, log(P(i, j) / (P(i) P(j)))), with probabilities from the links between i and j in both directions.
    """
    ends = np.stack([np.append(graph.sources, graph.targets), np.append(graph.targets, graph.sources)])  # (2, 2 edges)
    counts = torch.from_numpy(np.append(graph.counts, graph.counts)).double()
    shape = (graph.num_nodes, graph.num_nodes)
    linked = torch.sparse_coo_tensor(torch.from_numpy(ends), counts, shape, check_invariants=True).coalesce()
    of_node = torch.bincount(linked.indices()[0], linked.values(), graph.num_nodes)  # (nodes,)
    first, second = linked.indices()
    ratios = linked.values() * counts.sum() / (of_node[first] * of_node[second])
    information = ratios.log().clamp(min=0)
    return torch.sparse_coo_tensor(linked.indices(), information, shape, is_coalesced=True, check_invariants=True)


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Fix random numbers, and the order of sums, which follows the number of threads; both are as before afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
