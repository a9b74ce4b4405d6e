"""Preparation of linked pages: every mention is that of a link, whatever the workers and interruptions."""

import json
import tarfile
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from data_pipeline.corpora.wikipedia_dump import WikipediaDump
from data_pipeline.knowledge.entity_table import read_entity_table
from data_pipeline.knowledge.link_graph import read_link_graph
from data_pipeline.preparation import entity_stage, token_stage
from data_pipeline.preparation.entity_stage import EntitySettings
from data_pipeline.prepared.health import health_rows
from data_pipeline.prepared.manifest import Manifest, ShardEntry
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.records import Document
from data_pipeline.tokenizers.pieces import continuation_pieces
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from tests.data_pipeline.knowledge.linked_dump import NAMES, Linked, prepare
from tests.support.checkout import SHARED_DATA
from tests.support.corpora import contents, read_shard


def titles_in(folder: Path, entry: ShardEntry) -> list[str]:
    """Titles of the documents of a shard."""
    with tarfile.open(folder / entry.name) as tar:
        members = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
        return [title for member in members if member for title in json.load(member)["titles"]]


def mentioned(folder: Path, split: str, tokenizer: Tokenizer) -> dict[str, list[tuple[str, str]]]:
    """Words and title of every mention, by the title of the document."""
    source, entities = PreparedFolder(folder), read_entity_table(folder).titles
    found: dict[str, list[tuple[str, str]]] = {}
    for entry in source.manifest.splits[split]:
        shard, (mentions,) = read_shard(folder, entry), source.read_mentions([entry])
        begins = shard.sentence_offsets[shard.document_offsets].tolist()
        for title, (begin, end) in zip(titles_in(folder, entry), pairwise(begins), strict=True):
            rows = zip(mentions.begins.tolist(), mentions.sizes.tolist(), mentions.entities.tolist(), strict=True)
            found[title] = [
                (tokenizer.decode(shard.tokens[first : first + size].tolist()), entities[entity])
                for first, size, entity in rows
                if begin <= first < end
            ]
    return found


def test_the_mentions_are_the_links_to_entities_in_the_order_of_the_text(
    wiki: tuple[Path, Linked], linked_folder: Path
) -> None:
    tokenizer = load_tokenizer(linked_folder / "tokenizer")
    entities = set(read_entity_table(linked_folder).titles)
    for split in ("train", "validation"):
        found = mentioned(linked_folder, split, tokenizer)
        expected = {title: [link for link in wiki[1].links[title] if link[1] in entities] for title in found}
        assert found == expected
        assert sum(map(len, found.values())) > 50
    assert 5 < len(entities) < len(wiki[1].counts())


def test_mentions_cover_whole_words(linked_folder: Path) -> None:
    source = PreparedFolder(linked_folder)
    continues = continuation_pieces(load_tokenizer(linked_folder / "tokenizer"))
    assert continues.any()
    for entry in source.manifest.splits["train"]:
        tokens, (mentions,) = read_shard(linked_folder, entry).tokens, source.read_mentions([entry])
        ends = mentions.begins + mentions.sizes
        assert not continues[tokens[mentions.begins]].any()
        assert not continues[tokens[ends[ends < len(tokens)]]].any()


def test_entities_and_graph_count_the_links_of_the_training_split(
    wiki: tuple[Path, Linked], linked_folder: Path
) -> None:
    entries = Manifest.load(linked_folder).splits["train"]
    train = [title for entry in entries for title in titles_in(linked_folder, entry)]
    edges = Counter((title, target) for title in train for _, target in wiki[1].links[title])
    counts = Counter[str]()
    for (_, target), number in edges.items():
        counts[target] += number
    table, graph = read_entity_table(linked_folder), read_link_graph(linked_folder)
    assert table.titles == sorted((t for t in counts if counts[t] >= 8), key=lambda title: (-counts[title], title))
    nodes = [*graph.titles, *graph.pages]
    rows = zip(graph.sources.tolist(), graph.targets.tolist(), graph.counts.tolist(), strict=True)
    found = {(nodes[source], nodes[target]): count for source, target, count in rows}
    kept = set(table.titles)
    assert found == {edge: n for edge, n in edges.items() if edge[1] in kept and edge[0] != edge[1]}
    assert set(nodes) <= set(NAMES)
    assert table.vectors.shape == (len(table.titles), 6)


def test_the_result_depends_neither_on_workers_nor_on_interruptions(
    wiki: tuple[Path, Linked], linked_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(wiki[0], tmp_path / "parallel", workers=2)
    assert contents(tmp_path / "parallel") == contents(linked_folder)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    for module, name in ((entity_stage, "link_vectors"), (token_stage, "tokenize_files")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                prepare(wiki[0], tmp_path / "resumed")
    monkeypatch.setattr(entity_stage, "linked_entities", interrupted)  # what was finished is not done again
    prepare(wiki[0], tmp_path / "resumed")
    assert contents(tmp_path / "resumed") == contents(linked_folder)


def test_without_the_key_nothing_changes(wiki: tuple[Path, Linked], linked_folder: Path, tmp_path: Path) -> None:
    manifest = prepare(wiki[0], tmp_path / "plain", links=False)
    assert not any("mentions" in entry.side_files for entries in manifest.splits.values() for entry in entries)
    text = json.loads((tmp_path / "plain" / "manifest.json").read_text())
    assert "knowledge" not in text
    assert "entities" not in text["settings"]
    assert not [name for name in text["health"] if "links" in name or "entit" in name]
    kept = {n: h for n, h in contents(linked_folder).items() if not n.startswith("entities/") and ".mentions" not in n}
    assert {**contents(tmp_path / "plain"), "manifest.json": ""} == {**kept, "manifest.json": ""}
    with pytest.raises(ValueError, match=r"plain has no mentions of entities; prepare it with corpus\.links=true"):
        read_entity_table(tmp_path / "plain")


def test_other_settings_of_entities_are_another_preparation(
    wiki: tuple[Path, Linked], linked_folder: Path, tmp_path: Path
) -> None:
    assert prepare(wiki[0], linked_folder) == Manifest.load(linked_folder)
    with pytest.raises(ValueError, match=r"holds another preparation: entities\.size was \d+ and is 7"):
        prepare(wiki[0], linked_folder, entities=EntitySettings(min_count=8, size=7))
    with pytest.raises(ValueError, match=r"entities.min_count=5000 leaves none of \d+ linked pages; the most linked"):
        prepare(wiki[0], tmp_path / "none", entities=EntitySettings(min_count=5000))


@pytest.mark.parametrize("changes", [{"min_count": 0}, {"size": 1.5}, {"seed": -1}])
def test_wrong_settings_are_named(changes: dict[str, int]) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=f"^entities.{name} must be a whole number, at least"):
        EntitySettings(**changes)


def test_the_health_table_has_the_mentions(wiki: tuple[Path, Linked], linked_folder: Path) -> None:
    manifest = Manifest.load(linked_folder)
    rows = {row.name: row.value for row in health_rows(manifest.health)}
    assert rows["entities, the pages that are linked often enough"] == str(manifest.num_entities)
    assert rows["links to entities whose words were not found in the tokens"] == "0.00%"
    entities = set(read_entity_table(linked_folder).titles)
    links = [title for links in wiki[1].links.values() for _, title in links]
    mentions = [title for title in links if title in entities]
    assert manifest.health["mentions_per_document"] == round(len(mentions) / len(NAMES), 2) > 5
    assert manifest.health["entity_links_share"] == len(mentions) / len(links)


def test_copies_by_weight_have_their_mentions_and_are_counted_once(
    wiki: tuple[Path, Linked], linked_folder: Path, tmp_path: Path
) -> None:
    manifest = prepare(wiki[0], tmp_path / "twice", weight=2)
    source, once = PreparedFolder(tmp_path / "twice"), PreparedFolder(linked_folder)
    numbers = [
        sum(len(each.begins) for each in folder.read_mentions(folder.manifest.splits["train"]))
        for folder in (source, once)
    ]
    assert numbers[0] == 2 * numbers[1] > 0
    assert manifest.knowledge is not None
    assert once.manifest.knowledge is not None
    assert manifest.knowledge.files["links"] == once.manifest.knowledge.files["links"]


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="no real text beside the checkout")
def test_links_of_a_real_dump_show_text_that_is_there() -> None:
    reader = WikipediaDump("w", SHARED_DATA / "wikipedia-dump" / "*articles*.bz2", "none", "test", links=True)
    items = (item for part in reader.parts(1 << 24) for item in reader.read_part(part))
    documents = list(islice((item for item in items if isinstance(item, Document)), 10))
    links = [(document, shown, title) for document in documents for shown, title in document.links]
    assert len(links) > 1000
    missing = [shown for document, shown, _ in links if shown not in " ".join(document.paragraphs)]
    assert len(missing) < 0.01 * len(links)
    assert not [title for _, _, title in links if title[:1] in "abcdefghijklmnopqrstuvwxyz" or "_" in title]


def test_a_wiki_in_which_every_page_is_an_entity_has_no_other_pages(wiki: tuple[Path, Linked], tmp_path: Path) -> None:
    prepare(wiki[0], tmp_path / "all", entities=EntitySettings(min_count=1, size=100))
    graph = read_link_graph(tmp_path / "all")
    assert set(graph.titles) == set(wiki[1].counts())
    assert graph.pages == []
    assert read_entity_table(tmp_path / "all").vectors.shape == (len(graph.titles), 100)
    assert not read_entity_table(tmp_path / "all").vectors[:, graph.num_nodes :].any()
