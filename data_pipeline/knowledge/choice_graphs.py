"""Questions with choices -> the paths between their concepts and those of each choice, as targets of the encoding.

The graph of a choice has the concepts and links of its paths (Lin et al., 2019, section 3.2). Numbers of concepts and
links count from 0 in each choice, so they stay what they are in whatever batch the choice comes to lie.
"""

from array import array
from collections.abc import Sequence

import numpy as np

from data_pipeline.knowledge.grounding import Grounding
from data_pipeline.knowledge.knowledge_graph import KnowledgeGraph
from data_pipeline.knowledge.paths import GraphPath, PathFinder, PathSearch
from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import EncodedTargets
from data_pipeline.tasks.task_records import ChoiceQuestion

GRAPH_CONCEPTS, GRAPH_LINKS, GRAPH_PATHS = "graph_concepts", "graph_links", "graph_paths"
"""Names of the targets. A row of labels is the id of a concept; the concept, label and concept of a link, both ways; or
the links of a path, `NO_LABEL` after its last."""
MOST_PATHS = 256
"""Paths of a choice, the shorter ones first."""


class ChoiceGraphs:
    """Find the graphs of choices.

    Args:
        graph: The knowledge graph.
        search: Which paths are looked for.
    """

    def __init__(self, graph: KnowledgeGraph, search: PathSearch) -> None:
        self._graph = graph
        self._max_hops = search.max_hops
        self._ground = Grounding(graph)
        self._find = PathFinder(graph, search)

    def __call__(self, questions: Sequence[ChoiceQuestion]) -> dict[str, EncodedTargets]:
        """Return the targets of all choices, one sequence a choice, in the order of `encode_choices`."""
        concepts, links, paths = _Rows(1), _Rows(3), _Rows(self._max_hops)
        for question in questions:
            asked = self._ground(question.text)
            for choice in question.choices:
                found = self._paths(asked, self._ground(choice))
                ids = sorted({concept for path in found for concept in path[::2]})
                places = {concept: place for place, concept in enumerate(ids)}
                walked = [[self._link(path, hop, places) for hop in range(len(path) // 2)] for path in found]
                both = sorted({each for path in walked for link in path for each in (link, self._turned(link))})
                numbers = {link: number for number, link in enumerate(both)}
                concepts.add([[concept] for concept in ids])
                links.add(both)
                paths.add([[numbers[link] for link in path] for path in walked])
        return {
            GRAPH_CONCEPTS: concepts.targets(),
            GRAPH_LINKS: links.targets(),
            GRAPH_PATHS: paths.targets(),
        }

    def _paths(self, asked: Sequence[int], chosen: Sequence[int]) -> list[GraphPath]:
        found = [path for source in asked for target in chosen for path in self._find(source, target)]
        return sorted(found, key=len)[:MOST_PATHS]

    @staticmethod
    def _link(path: GraphPath, hop: int, places: dict[int, int]) -> tuple[int, int, int]:
        begin, label, end = path[2 * hop : 2 * hop + 3]
        return places[begin], label, places[end]

    def _turned(self, link: tuple[int, int, int]) -> tuple[int, int, int]:
        begin, label, end = link
        return end, self._graph.inverse(label), begin


class _Rows:
    """Rows of labels, sequence after sequence; shorter rows are filled up."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._labels = array("i")
        self._counts = [0]

    def add(self, rows: Sequence[Sequence[int]]) -> None:
        """Take the rows of the next sequence."""
        for row in rows:
            self._labels.extend([*row, *[NO_LABEL] * (self._width - len(row))])
        self._counts.append(len(rows))

    def targets(self) -> EncodedTargets:
        """Return all rows; each stands at the first token of its sequence."""
        cu_rows = np.cumsum(self._counts)
        return EncodedTargets(np.zeros(cu_rows[-1], np.int32), np.array(self._labels, np.int32), cu_rows)
