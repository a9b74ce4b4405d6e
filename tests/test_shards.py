"""Shards: what goes in comes out, the bytes are reproducible, and every damage is named."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.manifest import ShardEntry
from data_pipeline.records import TokenizedDocument
from data_pipeline.shards import BLOCK_TOKENS, read_shard, write_shard


def make_documents(number: int = 40, vocab_size: int = 30_000, seed: int = 0) -> list[TokenizedDocument]:
    numbers = np.random.default_rng(seed)
    return [
        TokenizedDocument(
            f"d{i}",
            [
                numbers.integers(0, vocab_size, size=n).tolist()
                for n in numbers.integers(1, 400, size=numbers.integers(1, 60))
            ],
            f"Title {i}",
        )
        for i in range(number)
    ]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(30_000, np.uint16), (65_536, np.uint16), (65_537, np.uint32)])
def test_documents_come_back_as_they_were(tmp_path: Path, vocab_size: int, dtype: type) -> None:
    documents = make_documents(vocab_size=vocab_size)
    documents[0].sentences[0][0] = vocab_size - 1
    entry = write_shard(tmp_path, "train/part-0.tar", documents, vocab_size)
    shard = read_shard(tmp_path, entry)
    assert shard.tokens.dtype == dtype
    read = [
        [
            shard.tokens[shard.sentence_offsets[s] : shard.sentence_offsets[s + 1]].tolist()
            for s in range(shard.document_offsets[d], shard.document_offsets[d + 1])
        ]
        for d in range(len(documents))
    ]
    assert read == [document.sentences for document in documents]
    assert entry.tokens == len(shard.tokens)
    assert entry.blocks > 2


def test_bytes_depend_on_the_documents_alone_and_are_about_two_a_token(tmp_path: Path) -> None:
    first = write_shard(tmp_path, "a.tar", make_documents(), 30_000)
    second = write_shard(tmp_path, "b.tar", make_documents(), 30_000)
    assert first == replace(second, name="a.tar")
    assert first.bytes / first.tokens < 2.2


def test_blocks_hold_whole_documents(tmp_path: Path) -> None:
    write_shard(tmp_path, "a.tar", make_documents(), 30_000)
    with tarfile.open(tmp_path / "a.tar") as tar:
        names = tar.getnames()
        sizes = [
            len(np.load(io.BytesIO(tar.extractfile(name).read()), allow_pickle=False))
            for name in names
            if name.endswith("tokens.npy")
        ]
    assert {name.split(".")[0].isdigit() for name in names} == {True}
    assert min(sizes[:-1]) >= BLOCK_TOKENS


def tar_members(path: Path) -> list[int]:
    with tarfile.open(path) as tar:
        return [member.offset for member in tar.getmembers()]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("missing", "is missing"),
        ("empty", "truncated"),
        ("cut at a member", "truncated"),
        ("cut inside a header", "truncated"),
        ("cut inside a member", "truncated"),
        ("flipped byte", "altered"),
        ("corrupted header", "altered"),
        ("other shard", "truncated or overwritten|altered"),
    ],
)
def test_damage_is_named_with_the_shard(tmp_path: Path, damage: str, said: str) -> None:
    entry = write_shard(tmp_path, "part-7.tar", make_documents(), 30_000)
    path = tmp_path / entry.name
    content, offsets = bytearray(path.read_bytes()), tar_members(path)
    if damage == "flipped byte":
        content[offsets[4] + 700] ^= 1
    elif damage == "corrupted header":
        content[offsets[4] + 2] ^= 255
    elif damage == "other shard":
        write_shard(tmp_path, "other.tar", make_documents(seed=1), 30_000)
        content = bytearray((tmp_path / "other.tar").read_bytes())
    cuts = {"empty": 0, "cut at a member": offsets[4], "cut inside a header": offsets[4] + 100}
    cuts["cut inside a member"] = offsets[4] + 1000
    path.write_bytes(content[: cuts.get(damage, len(content))])
    if damage == "missing":
        path.unlink()
    with pytest.raises(ValueError, match=rf"part-7\.tar.*({said})"):
        read_shard(tmp_path, entry)


@pytest.mark.parametrize("name", ["blocks", "documents", "sentences", "tokens"])
def test_counts_that_differ_from_the_manifest_are_named(tmp_path: Path, name: str) -> None:
    entry: ShardEntry = write_shard(tmp_path, "part-7.tar", make_documents(3), 30_000)
    wrong = replace(entry, **{name: getattr(entry, name) + 1})
    with pytest.raises(ValueError, match=rf"part-7\.tar has \d+ {name}, the manifest says \d+"):
        read_shard(tmp_path, wrong)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, "a.tar", make_documents(2), 30_000)
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("tokens", "sentences", "documents"):
            member = tarfile.TarInfo(f"000000.{name}.npy")
            member.size = len(buffer.getvalue())
            tar.addfile(member, io.BytesIO(buffer.getvalue()))
    content = (tmp_path / "a.tar").read_bytes()
    import hashlib

    entry = replace(entry, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match="allow_pickle"):
        read_shard(tmp_path, entry)
