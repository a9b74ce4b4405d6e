"""Entities, link graph and rows of titles from counts of links, and what is no such file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.knowledge.link_graph import link_graph, linked_entities
from data_pipeline.knowledge.title_rows import TitleRows

LINKS = {
    "Bern": {"Aare": 2, "Bern": 3, "Berne": 1, "Zug": 1},
    "Zug": {"Bern": 1, "Aar": 1, "Lake": 1},
    "Thun": {"Aare": 1, "Berne": 2},
    "Empty": {"Nowhere": 1},
}
REDIRECTS = {"Berne": "Bern", "Aar": "Aare", "Unlinked": "Bern", "Zurich": "Lake", "First": "Second"}


def pages() -> Iterator[tuple[str, dict[str, int]]]:
    yield from LINKS.items()


def redirects() -> Iterator[tuple[str, str]]:
    yield from REDIRECTS.items()


def test_entities_are_sorted_by_links_and_then_by_title() -> None:
    titles, rows = linked_entities(pages(), redirects, 1)
    assert titles == ["Bern", "Aare", "Lake", "Nowhere", "Zug"]
    assert rows == {"Bern": 0, "Berne": 0, "Unlinked": 0, "Aare": 1, "Aar": 1, "Lake": 2, "Zurich": 2} | {
        "Nowhere": 3,
        "Zug": 4,
    }
    assert linked_entities(pages(), redirects, 4)[0] == ["Bern", "Aare"]


@pytest.mark.parametrize(
    ("links", "said"),
    [(LINKS, "leaves none of 5 linked pages; the most linked has 7"), ({}, "leaves none of 0 linked pages; the text")],
)
def test_too_high_a_count_is_named(links: dict[str, dict[str, int]], said: str) -> None:
    with pytest.raises(ValueError, match=f"^entities.min_count=8 {said}"):
        linked_entities(links.items(), redirects, 8)


def test_edges_join_what_leads_to_one_page() -> None:
    titles, rows = linked_entities(pages(), redirects, 2)
    graph = link_graph(pages(), titles, rows.get)
    assert (graph.titles, graph.pages) == (["Bern", "Aare"], ["Zug", "Thun"])
    edges = list(zip(graph.sources.tolist(), graph.targets.tolist(), graph.counts.tolist(), strict=True))
    assert edges == [(0, 1, 2), (2, 0, 1), (2, 1, 1), (3, 0, 2), (3, 1, 1)]
    assert graph.num_nodes == 4


def test_rows_of_titles_are_those_of_a_dictionary(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    rows = {f"Title {number}": int(row) for number, row in enumerate(numbers.integers(0, 70_000, size=500))}
    TitleRows.of(rows).save(tmp_path / "rows.npy")
    loaded = TitleRows.load(tmp_path / "rows.npy")
    assert {title: loaded.row(title) for title in rows} == rows
    assert {loaded.row(f"title {number}") for number in range(5000)} == {None}  # hashes beyond the last one too
    assert {TitleRows.of({"Bern": 0}).row(title) for title in "abcdefghijkl"} == {None}
