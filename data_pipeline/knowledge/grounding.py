"""The concepts that a text mentions (Lin et al., 2019, section 3.1)."""

from data_pipeline.knowledge.knowledge_graph import KnowledgeGraph, words_of

MOST_CONCEPTS = 32
"""Concepts of a text that are looked at, the first ones; the concepts of two texts are paired each with each."""


class Grounding:
    """Find concepts by their words; nothing is inflected, and words such as "the" count if the graph has them.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: KnowledgeGraph) -> None:
        self._ids = {name: number for number, name in enumerate(graph.concepts)}
        self._longest: dict[str, int] = {}  # words of the longest concept, by its first word
        for name in graph.concepts:
            first, *others = name.split(" ")
            self._longest[first] = max(self._longest.get(first, 0), 1 + len(others))

    def __call__(self, text: str) -> list[int]:
        """Return the concepts of a text in the order of their first mentions, each once.

        At each word the longest concept that begins there is taken, and the words after it are looked at next.
        """
        words, found, begin = words_of(text), dict[int, None](), 0
        while begin < len(words) and len(found) < MOST_CONCEPTS:
            for length in range(self._longest.get(words[begin], 0), 0, -1):
                number = self._ids.get(" ".join(words[begin : begin + length]))
                if number is not None and begin + length <= len(words):
                    found[number] = None
                    begin += length
                    break
            else:
                begin += 1
        return list(found)
