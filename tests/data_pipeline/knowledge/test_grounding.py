"""Concepts that a text mentions: by words, the longest first, each once."""

from pathlib import Path

from data_pipeline.knowledge import grounding
from data_pipeline.knowledge.grounding import Grounding
from data_pipeline.knowledge.triples import read_triples

NAMES = ["dog", "hot dog", "hot dog stand", "stand", "ice cream", "ice", "Café", "dog's"]


def mentioned(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "graph.csv"
    path.write_text("".join(f"{name},IsA,thing\n" for name in NAMES))
    graph = read_triples(path)
    return [graph.concepts[number] for number in Grounding(graph)(text)]


def test_the_longest_concept_at_a_word_is_taken(tmp_path: Path) -> None:
    assert mentioned(tmp_path, "A Hot-Dog stand, a hot dog, and a DOG.") == ["hot dog stand", "hot dog", "dog"]
    assert mentioned(tmp_path, "hot ice; hot dog hot") == ["ice", "hot dog"]
    assert mentioned(tmp_path, "the end is hot dog") == ["hot dog"]


def test_a_concept_counts_once_and_in_whole_words(tmp_path: Path) -> None:
    assert mentioned(tmp_path, "dogs like ice, dog, ice and ice_cream") == ["ice", "dog", "ice cream"]
    assert mentioned(tmp_path, "the dog's cafe\u0301, a CAFÉ") == ["dog s", "café"]
    assert mentioned(tmp_path, "...") == mentioned(tmp_path, "") == []


def test_the_first_concepts_of_a_long_text_are_taken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(grounding, "MOST_CONCEPTS", 2)
    assert mentioned(tmp_path, "ice, dog, stand") == ["ice", "dog"]
