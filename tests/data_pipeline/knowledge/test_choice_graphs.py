"""The graphs of choices as targets: concepts and links numbered in each choice, paths as rows of links."""

import numpy as np

from data_pipeline.knowledge.choice_graphs import GRAPH_CONCEPTS, GRAPH_LINKS, GRAPH_PATHS, ChoiceGraphs
from data_pipeline.knowledge.knowledge_graph import build_graph
from data_pipeline.knowledge.paths import PathSearch
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import EncodedTargets
from data_pipeline.tasks.task_records import ChoiceQuestion

NAMES, RELATIONS = ["ant", "bee", "cow", "dog", "elk"], ["eats", "fears"]
TRIPLES = np.array([(0, 0, 1), (1, 1, 2), (3, 0, 2), (0, 1, 2)], dtype=np.int32)
ANT, BEE, COW, DOG, _ = range(5)
EATS, FEARS, EATEN, FEARED = range(4)
QUESTIONS = [
    ChoiceQuestion("0", "An ant here", ("the cow", "an elk", "a bee"), 0, "x, line 1"),
    ChoiceQuestion("1", "A dog", ("nothing", "a dog", "ant and cow"), 2, "x, line 2"),
]


def rows(target: EncodedTargets) -> list[list[list[int]]]:
    """The rows of labels of each sequence."""
    labels = target.labels.reshape(-1, target.labels_of_row).tolist()
    return [labels[begin:end] for begin, end in zip(target.cu_rows, target.cu_rows[1:], strict=False)]


def test_every_choice_has_the_graph_of_its_paths() -> None:
    graph = build_graph(NAMES, RELATIONS, TRIPLES, np.ones(4, dtype=np.float32))
    targets = ChoiceGraphs(graph, PathSearch(max_hops=2))(QUESTIONS)
    concepts, links, paths = (rows(targets[name]) for name in (GRAPH_CONCEPTS, GRAPH_LINKS, GRAPH_PATHS))
    assert concepts == [[[ANT], [BEE], [COW]], [], [[ANT], [BEE], [COW]], [], [], [[ANT], [COW], [DOG]]]
    walks = []
    for some_concepts, some_links, some_paths in zip(concepts, links, paths, strict=True):
        assert {(end, graph.inverse(label), begin) for begin, label, end in some_links} == set(map(tuple, some_links))
        walks.append([])
        for path in some_paths:
            taken = [some_links[link] for link in path if link != NO_LABEL]
            named = [(some_concepts[begin][0], label, some_concepts[end][0]) for begin, label, end in taken]
            walks[-1].append(named)
    assert walks == [
        [[(ANT, FEARS, COW)], [(ANT, EATS, BEE), (BEE, FEARS, COW)]],
        [],
        [[(ANT, EATS, BEE)], [(ANT, FEARS, COW), (COW, FEARED, BEE)]],
        [],
        [],
        [[(DOG, EATS, COW)], [(DOG, EATS, COW), (COW, FEARED, ANT)]],
    ]


def test_questions_without_any_path_have_no_rows() -> None:
    graph = build_graph(NAMES, RELATIONS, TRIPLES, np.ones(4, dtype=np.float32))
    targets = ChoiceGraphs(graph, PathSearch())([ChoiceQuestion("0", "An ant", ("no", "one"), 0, "x, line 1")])
    assert [each.cu_rows.tolist() for each in targets.values()] == [[0, 0, 0]] * 3
