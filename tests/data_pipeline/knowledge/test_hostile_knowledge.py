"""Files of mentions and entities that others wrote: damage and malice are one line that names the file."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.knowledge.entity_table import read_entity_table
from data_pipeline.knowledge.link_graph import read_link_graph
from data_pipeline.prepared.manifest import FileEntry, KnowledgeEntry, Manifest, ShardEntry, SideFile
from data_pipeline.prepared.mentions_file import MENTIONS, encode_mentions, parse_mentions
from data_pipeline.prepared.npy import npy
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.records import Mention, TokenizedDocument

ENTITIES = 50
ENTRY = ShardEntry("a.tar", 1, "0" * 64, 1, 2, 3, 100)
NOT_FINITE = np.array([[1, np.nan]], dtype=np.float32)


def columns(*rows: tuple[int, int, int], dtype: str = "<u2") -> bytes:
    """The mentions file of rows of begin, size and entity."""
    return b"".join(npy(column.copy()) for column in np.array(rows, dtype=dtype).reshape(-1, 3).T)


def parse(content: bytes) -> Any:
    """Parse with the hash of the content in the manifest: who writes one can also hash it."""
    about = SideFile(len(content), hashlib.sha256(content).hexdigest())
    return parse_mentions(content, "a.mentions", replace(ENTRY, side_files={MENTIONS: about}), ENTITIES)


def test_mentions_come_back_with_offsets_in_the_shard() -> None:
    documents = [
        TokenizedDocument("a", [[1, 2], [3, 4, 5]], mentions=[Mention(0, 2, 7), Mention(3, 1, 300)]),
        TokenizedDocument("b", [[6]]),
        TokenizedDocument("c", [[7, 8]], mentions=[Mention(1, 1, 0)]),
    ]
    content = encode_mentions(documents)
    about = SideFile(len(content), hashlib.sha256(content).hexdigest())
    mentions = parse_mentions(content, "a", replace(ENTRY, side_files={MENTIONS: about}), 301)
    assert mentions.begins.tolist() == [0, 3, 7]
    assert mentions.sizes.tolist() == [2, 1, 1]
    assert mentions.entities.tolist() == [7, 300, 0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds begins that is not an .npy file"),
        (columns((1, 2, 3))[:-1], "holds entities with 1 bytes of numbers, its header says 2"),
        (columns((1, 2, 3)) + b".", "holds entities with 3 bytes of numbers, its header says 2"),
        (columns((1, 2, 3), dtype="<i8"), "holds begins of dtype <i8"),
        (columns((1, 2, 3), dtype="<f4"), "holds begins of dtype <f4"),
        (npy(np.array([1], "<u2")) * 2 + npy(np.array([1, 2], "<u2")), "contradicts itself: it has 1 begins, 1 sizes"),
        (columns((1, 0, 3)), "has an empty mention"),
        (columns((1, 2, 3), (2, 1, 3)), "has mentions that overlap"),
        (columns((5, 1, 3), (2, 1, 3)), "has mentions that overlap or are out of order"),
        (columns((99, 2, 3)), "has a mention that ends at token 101, the shard has 100"),
        (columns((2**32 - 1, 2**32 - 1, 3), dtype="<u4"), "has a mention that ends at token 8589934590"),
        (columns((1, 2, 50)), "has the entity 50, the folder has 50 entities"),
    ],
)
def test_what_is_no_file_of_mentions_is_refused_by_name(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=f"^file a.mentions {said}"):
        parse(content)


def test_sound_files_are_read() -> None:
    assert parse(columns((0, 100, 49))).entities.tolist() == [49]
    assert len(parse(columns()).begins) == 0


@pytest.fixture
def copy(linked_folder: Path, tmp_path: Path) -> Path:
    """A copy of the prepared folder."""
    return Path(shutil.copytree(linked_folder, tmp_path / "copy"))


@pytest.mark.parametrize(("damage", "said"), [("missing", "is missing"), ("cut", "is truncated"), ("flip", "altered")])
def test_damaged_files_are_named(copy: Path, damage: str, said: str) -> None:
    source = PreparedFolder(copy)
    entry = source.manifest.splits["train"][1]
    readings: dict[str, Callable[[], object]] = {
        f"{entry.name}.mentions": lambda: source.read_mentions([entry]),
        "entities/vectors.npy": lambda: read_entity_table(copy),
        "entities/titles.txt": lambda: read_entity_table(copy),
        "entities/links.npy": lambda: read_link_graph(copy),
        "entities/pages.txt": lambda: read_link_graph(copy),
    }
    for name, read in readings.items():
        whole = (copy / name).read_bytes()
        damaged = bytearray(whole)
        damaged[-1] ^= damage == "flip"
        (copy / name).write_bytes(damaged[:-1] if damage == "cut" else damaged)
        if damage == "missing":
            (copy / name).unlink()
        with pytest.raises(ValueError, match=rf"^file [^\n]*{name} [^\n]*{said}[^\n]*$"):
            read()
        (copy / name).write_bytes(whole)


def forge(folder: Path, kind: str, content: bytes) -> None:
    """Replace a file of entities, and say so in the manifest."""
    manifest = Manifest.load(folder)
    knowledge = manifest.knowledge
    assert knowledge is not None
    name = knowledge.files[kind].name
    (folder / name).write_bytes(content)
    file = FileEntry(name, len(content), hashlib.sha256(content).hexdigest())
    replace(manifest, knowledge=replace(knowledge, files={**knowledge.files, kind: file})).save(folder)


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("vectors", b"", "of [^\n]* holds vectors that is not an .npy file of a float32 matrix"),
        (
            "vectors",
            npy(np.ones(4, dtype=np.uint8)),
            "of [^\n]* holds vectors that is not an .npy file of a float32 matrix",
        ),
        ("vectors", npy(NOT_FINITE), r"of [^\n]* holds vectors of shape \(1, 2\), not \(\d+, 6\)"),
        (
            "vectors",
            npy(NOT_FINITE).replace(b"'<f4'", b"'|O'"),
            "of [^\n]* holds vectors that is not an .npy file of a float32",
        ),
        ("vectors", None, "of [^\n]* holds vectors with a number that is not finite"),
        ("titles", b"One\nTwo\n", r"of [^\n]* has 2 titles, the manifest says \d+"),
        ("titles", b"One\nTwo", "of [^\n]* ends inside a line"),
        ("titles", b"\xff\n", "of [^\n]* is not UTF-8 text"),
        ("links", npy(np.array([1], "<u2")), "of [^\n]* holds targets that is not"),
        ("links", columns((1, 2, 3)) + b".", "of [^\n]* holds counts with"),
        ("links", columns((0, 1000, 3)), "of [^\n]* has the target 1000, the folder has"),
        ("links", columns((1000, 0, 3)), "of [^\n]* has the source 1000, the folder has"),
        ("links", npy(np.array([1, 2], "<u2")) + npy(np.array([1], "<u2")) * 2, "of [^\n]* contradicts itself"),
    ],
)
def test_forged_files_are_refused(copy: Path, kind: str, content: bytes | None, said: str) -> None:
    if content is None:
        table = read_entity_table(copy).vectors.copy()
        table[3, 3] = np.inf
        content = npy(table)
    forge(copy, kind, content)
    with pytest.raises(ValueError, match=rf"^file entities/{kind}\.\w+ {said}") as raised:
        (read_link_graph if kind == "links" else read_entity_table)(copy)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_entities": 0}, r"knowledge\.num_entities=0"),
        ({"num_entities": 1 << 40}, r"knowledge\.num_entities=1099511627776"),
        ({"entity_size": -1}, r"knowledge\.entity_size=-1"),
        ({"entity_size": "x"}, r"knowledge\.entity_size='x'"),
        ({"entity_size": 1 << 20}, r"knowledge\.entity_size=1048576"),
        ({"files": []}, r"knowledge\.files=\[\]"),
        ({"files": {"titles": {"name": "../x", "bytes": 1, "sha256": "0" * 64}}}, r"name='\.\./x'"),
        ({"files": {"titles": {"name": "x", "bytes": 1, "sha256": "../x"}}}, r"sha256='\.\./x'"),
        (
            {"files": {"titles": {"name": "x", "bytes": 1 << 40, "sha256": "0" * 64}}},
            r"files\.titles\.bytes=1099511627776",
        ),
    ],
)
def test_a_manifest_with_impossible_entities_is_refused(copy: Path, changes: dict[str, Any], said: str) -> None:
    content = json.loads((copy / "manifest.json").read_text())
    content["knowledge"] |= changes
    del content["format_version"], content["sha256"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps({"format_version": 3, "sha256": digest, **content}))
    with pytest.raises(ValueError, match=said):
        Manifest.load(copy)


def test_a_file_that_the_manifest_does_not_list_is_named(copy: Path) -> None:
    manifest = Manifest.load(copy)
    assert manifest.knowledge is not None
    replace(manifest, knowledge=replace(manifest.knowledge, files={})).save(copy)
    with pytest.raises(ValueError, match=r"^the manifest of [^\n]* lists no file knowledge\.files\.vectors$"):
        read_entity_table(copy)


def test_files_from_elsewhere_are_the_same(linked_folder: Path, tmp_path: Path) -> None:
    here, there = (
        PreparedFolder(linked_folder),
        PreparedFolder(f"pipe:cat {linked_folder}/{{name}}", tmp_path / "cache"),
    )
    entries = here.manifest.splits["train"]
    for one, other in zip(here.read_mentions(entries), there.read_mentions(entries), strict=True):
        assert one.begins.tolist() == other.begins.tolist()
    one, other = read_entity_table(here), read_entity_table(there)
    assert one.titles == other.titles
    assert one.vectors_sha256 == other.vectors_sha256
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_a_shard_without_mentions_has_no_file(linked_folder: Path) -> None:
    source = PreparedFolder(linked_folder)
    entry = source.manifest.splits["train"][0]
    (mentions,) = source.read_mentions([replace(entry, side_files={})])
    assert len(mentions.begins) == 0
    knowledge = KnowledgeEntry(1, 0, 1, {})
    assert replace(source.manifest, knowledge=knowledge).num_entities == 1
