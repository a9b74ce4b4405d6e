"""Lengths files: what the shard itself says, read in its place, and refused if damaged."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.prepared.document_hashes import document_hash, parse_hashes
from data_pipeline.prepared.lengths_file import parse_lengths_file
from data_pipeline.prepared.manifest import Manifest, ShardEntry, SideFile
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.prepared.shards import parse_lengths, write_shard
from tests.support.corpora import read_shard
from tests.support.texts import make_documents
from tests.support.version_two import write_version_two


@pytest.fixture
def entry(tmp_path: Path) -> ShardEntry:
    return write_shard(tmp_path, "a.tar", make_documents(), 30_000)


def test_it_holds_the_offsets_of_the_shard_in_a_fraction_of_the_bytes(tmp_path: Path, entry: ShardEntry) -> None:
    content = (tmp_path / "a.tar.lengths").read_bytes()
    assert entry.side_files["lengths"] == SideFile(len(content), hashlib.sha256(content).hexdigest())
    with (tmp_path / "a.tar").open("rb") as file:
        for offsets, expected in zip(
            parse_lengths_file(content, "x", entry), parse_lengths(file, "a.tar", entry), strict=True
        ):
            assert offsets.tolist() == expected.tolist()
    assert entry.blocks > 1
    assert len(content) < 0.03 * entry.bytes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds documents that is not an .npy file"),
        (b"cut", "holds sentences with"),
        (b"more", "holds sentences with"),
    ],
)
def test_what_is_no_lengths_file_is_refused_by_name(
    tmp_path: Path, entry: ShardEntry, content: bytes, said: str
) -> None:
    """The manifest's hash is right here: who writes one can also hash it."""
    whole = (tmp_path / "a.tar.lengths").read_bytes()
    content = {b"cut": whole[:-1], b"more": whole + b"."}.get(content, content)
    forged = replace(entry, side_files={"lengths": SideFile(len(content), hashlib.sha256(content).hexdigest())})
    with pytest.raises(ValueError, match=f"^file a.lengths {said}"):
        parse_lengths_file(content, "a.lengths", forged)


def test_lengths_of_another_shard_are_refused(tmp_path: Path, entry: ShardEntry) -> None:
    other = write_shard(tmp_path, "b.tar", make_documents(seed=1), 30_000)
    swapped = replace(entry, side_files=other.side_files)
    with pytest.raises(ValueError, match=r"file b\.lengths has .* the manifest says"):
        parse_lengths_file((tmp_path / "b.tar.lengths").read_bytes(), "b.lengths", swapped)


def test_hashes_are_those_of_the_token_ids_of_each_document(tmp_path: Path, entry: ShardEntry) -> None:
    documents = make_documents()
    hashes = np.load(tmp_path / "a.tar.hashes", allow_pickle=False)
    assert hashes.tolist() == [document_hash(document) for document in documents]
    ids = np.concatenate(documents[3].sentences).astype("<u4").tobytes()
    assert int(hashes[3]).to_bytes(8, "little") == hashlib.blake2b(ids, digest_size=8).digest()
    assert read_shard(tmp_path, entry).document_hashes.tolist() == hashes.tolist()


def test_hashes_are_read_from_their_file_and_computed_without_it(prepared: Path, tmp_path: Path) -> None:
    now, before = PreparedFolder(prepared), PreparedFolder(write_version_two(prepared, tmp_path / "two"))
    for entry, old in zip(now.manifest.splits["train"], before.manifest.splits["train"], strict=True):
        assert now.read_hashes(entry).tolist() == before.read_hashes(old).tolist()


@pytest.mark.parametrize(("damage", "said"), [("missing", "is missing"), ("cut", "is truncated"), ("flip", "altered")])
def test_a_damaged_hashes_file_is_named(prepared: Path, tmp_path: Path, damage: str, said: str) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "copy"))
    entry = Manifest.load(folder).splits["train"][2]
    path = folder / f"{entry.name}.hashes"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= damage == "flip"
    path.write_bytes(whole[:-1] if damage == "cut" else whole)
    if damage == "missing":
        path.unlink()
    with pytest.raises(ValueError, match=rf"^file [^\n]*part-00002\.tar\.hashes {said}|was {said}"):
        PreparedFolder(folder).read_hashes(entry)


def test_hashes_of_another_shard_are_refused(tmp_path: Path, entry: ShardEntry) -> None:
    other = write_shard(tmp_path, "b.tar", make_documents(number=7), 30_000)
    swapped = replace(entry, side_files=other.side_files)
    with pytest.raises(ValueError, match=r"^file b\.hashes has 7 documents, the manifest says 40"):
        parse_hashes((tmp_path / "b.tar.hashes").read_bytes(), "b.hashes", swapped)


def test_counting_reads_the_lengths_file_in_place_of_the_shard(prepared: Path, tmp_path: Path) -> None:
    folder = PreparedFolder(prepared)
    entries = folder.manifest.splits["train"]
    expected = folder.read_lengths(entries)
    for entry in entries:
        lengths = tmp_path / f"{entry.name}.lengths"
        lengths.parent.mkdir(exist_ok=True)
        lengths.write_bytes((prepared / f"{entry.name}.lengths").read_bytes())
    Manifest.load(prepared).save(tmp_path)
    for (sentences, documents), (s, d) in zip(PreparedFolder(tmp_path).read_lengths(entries), expected, strict=True):
        assert (sentences.tolist(), documents.tolist()) == (s.tolist(), d.tolist())


@pytest.mark.parametrize(("damage", "said"), [("missing", "is missing"), ("cut", "is truncated"), ("flip", "altered")])
def test_a_damaged_lengths_file_is_named(prepared: Path, tmp_path: Path, damage: str, said: str) -> None:
    folder = PreparedFolder(prepared)
    entry = folder.manifest.splits["train"][2]
    whole = bytearray((prepared / f"{entry.name}.lengths").read_bytes())
    whole[-1] ^= damage == "flip"
    path = tmp_path / f"{entry.name}.lengths"
    path.parent.mkdir()
    if damage != "missing":
        path.write_bytes(whole[: len(whole) - (damage == "cut")])
    folder.manifest.save(tmp_path)
    with pytest.raises(ValueError, match=rf"file {path} (was )?{said}"):
        PreparedFolder(tmp_path).read_lengths([entry])
