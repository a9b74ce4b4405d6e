"""Triples of a file as a graph: every format, the same graph for any order of lines, and what is refused."""

import logging
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.knowledge import triples
from data_pipeline.knowledge.knowledge_graph import KnowledgeGraph
from data_pipeline.knowledge.triples import read_triples

LINES = ["dog\tIsA\tanimal\t2.0", "cat\tIsA\tanimal", "Hot_Dog\tMadeOf\tmeat", "dog\tEats\tmeat\t0.5"]
ASSERTION = '/a/[/r/IsA/,/c/en/dog/,/c/en/animal/]\t/r/IsA\t/c/{}/dog/n\t/c/{}/animal\t{{"weight": 2.0}}'


def read(tmp_path: Path, *lines: str, language: str = "en") -> KnowledgeGraph:
    path = tmp_path / "graph.tsv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return read_triples(path, language)


def links(graph: KnowledgeGraph) -> set[tuple[str, str, bool, str, float]]:
    """Every link: begin, relation, whether it is read from tail to head, end, weight."""
    begins = np.repeat(np.arange(len(graph.concepts)), np.diff(graph.offsets))
    return {
        (
            graph.concepts[begin],
            graph.relations[label % len(graph.relations)],
            label >= len(graph.relations),
            graph.concepts[end],
            round(weight, 3),
        )
        for begin, label, end, weight in zip(begins, graph.labels, graph.neighbors, graph.weights.tolist(), strict=True)
    }


def test_a_triple_is_a_link_both_ways(tmp_path: Path) -> None:
    graph = read(tmp_path, *LINES)
    assert graph.concepts == ["animal", "cat", "dog", "hot dog", "meat"]
    assert graph.relations == ["Eats", "IsA", "MadeOf"]
    forward = {("dog", "IsA", "animal", 2.0), ("cat", "IsA", "animal", 1.0), ("hot dog", "MadeOf", "meat", 1.0)}
    forward |= {("dog", "Eats", "meat", 0.5)}
    both = {(a, r, False, b, w) for a, r, b, w in forward} | {(b, r, True, a, w) for a, r, b, w in forward}
    assert links(graph) == both


def test_the_order_of_lines_and_repeated_ones_change_nothing(tmp_path: Path) -> None:
    graph = read(tmp_path, *LINES)
    again = read(tmp_path, "dog\tIsA\tanimal\t1.0", *reversed(LINES), "hot dog\tMadeOf\tMEAT")
    assert (again.sha256, links(again)) == (graph.sha256, links(graph))
    for other in (LINES[1:], [LINES[0].replace("2.0", "2.5"), *LINES[1:]], [*LINES, "cat\tEats\tmeat"]):
        assert read(tmp_path, *other).sha256 != graph.sha256


@pytest.mark.parametrize(
    "lines",
    [
        ["head\trelation\ttail\tweight", *LINES],
        ["Head,relation,tail", "dog,IsA,animal,2.0", '"cat",IsA,animal', "hot dog,MadeOf,meat", "dog,Eats,meat,0.5"],
        ["/r/IsA\t/c/en/dog\t/c/en/animal\t2", "/r/IsA\t/c/en/cat/n/wn\t/c/en/animal", *LINES[2:]],
        [ASSERTION.format("en", "en"), ASSERTION.format("en", "de"), ASSERTION.format("fr", "fr"), *LINES[1:]],
    ],
    ids=["header", "csv", "relation first", "assertions"],
)
def test_all_formats_are_the_same_graph(tmp_path: Path, lines: list[str]) -> None:
    assert read(tmp_path, *lines).sha256 == read(tmp_path, *LINES).sha256


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read(tmp_path, ASSERTION.format("de", "de"), *LINES, "dog\tIsA\tDog", "dog\tIsA\t!?")
    left_out = "1 in another language, 1 of a concept with itself, 1 without a letter or digit"
    assert f"4 triples of 5 concepts; left out: {left_out}\n" in caplog.text
    assert read(tmp_path, ASSERTION.format("de", "de"), language="de").concepts == ["animal", "dog"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dog\tIsA", r"line 2 has 2 fields; a triple has 3, head, relation and tail, and a fourth for its weight"),
        ("dog", r"line 2 has 1 field;"),
        ("dog\tIsA\tanimal\tmany", r"line 2 has the weight 'many', which must be a number above 0"),
        ("dog\tIsA\tanimal\tnan", r"line 2 has the weight 'nan'"),
        ("dog\tIsA\tanimal\t-1", r"line 2 has the weight '-1'"),
        ("dog\tIsA\tanimal\t1e99", r"line 2 has the weight '1e99'"),
        ("dog\t\tanimal", r"line 2 has the relation '', which must have 1 to 256 characters"),
        ("\tIsA\tanimal", r"line 2 has an empty head or tail"),
        ("/c/en\tIsA\tanimal", r"line 2 has '/c/en', which is no concept of ConceptNet, such as /c/en/dog"),
        (f"{'x' * 300}\tIsA\tanimal", r"line 2 has a name of 300 characters; a concept has at most 256"),
        ('"dog,IsA,animal', r"line 2 is not a record of a CSV"),
        ("x\t/r/IsA\t/c/en/dog\t/c/en/animal\t{", r"line 2 cannot be read as JSON"),
        ('x\t/r/IsA\t/c/en/dog\t/c/en/animal\t{"weight": true}', r"line 2 has the weight True"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"graph\.tsv, {said}") as error:
        read(tmp_path, LINES[0], line)
    assert "\n" not in str(error.value)


def test_files_that_are_no_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"graph\.tsv holds no triples$"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"graph\.tsv holds no triples; left out: 1 in another language"):
        read(tmp_path, ASSERTION.format("de", "de"))
    with pytest.raises(ValueError, match=r"absent\.tsv cannot be read: No such file"):
        read_triples(tmp_path / "absent.tsv")
    (tmp_path / "binary").write_bytes(b"dog\tIsA\t\xff\n")
    with pytest.raises(ValueError, match=r"binary, line 1 is not UTF-8 text"):
        read_triples(tmp_path / "binary")
    monkeypatch.setattr(triples, "MOST_TRIPLES", 3)
    with pytest.raises(ValueError, match=r"line 4 is triple 4; a graph may have 3"):
        read(tmp_path, *LINES)
