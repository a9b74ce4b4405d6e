"""Shards: what goes in comes out, the bytes are reproducible, and every damage is named."""

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys, tar_file_expander

from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.shards import BLOCK_TOKENS, parse_lengths, parse_shard, write_shard
from tests.support.corpora import read_shard
from tests.support.texts import make_documents


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


def test_a_folder_whose_name_looks_like_an_address_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_shard(Path("exp:1"), "a.tar", make_documents(), 30_000).bytes == Path("exp:1/a.tar").stat().st_size


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


def test_webdataset_reads_what_was_written(tmp_path: Path) -> None:
    documents = make_documents()
    write_shard(tmp_path, "a.tar", documents, 30_000)
    with (tmp_path / "a.tar").open("rb") as stream:
        blocks = list(group_by_keys(tar_file_expander([{"url": "a.tar", "stream": stream}])))
    tokens = np.concatenate([np.load(io.BytesIO(block["tokens.npy"]), allow_pickle=False) for block in blocks])
    assert tokens.tolist() == [t for document in documents for sentence in document.sentences for t in sentence]
    assert json.loads(blocks[0]["json"])["titles"][0] == "Title 0"


def test_lengths_are_read_without_the_tokens(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, "a.tar", make_documents(), 30_000)
    shard = read_shard(tmp_path, entry)
    with CountingFile((tmp_path / "a.tar").read_bytes()) as file:
        sentences, documents = parse_lengths(file, "a.tar", entry)
        assert file.bytes_read < 0.15 * entry.bytes
    assert sentences.tolist() == shard.sentence_offsets.tolist()
    assert documents.tolist() == shard.document_offsets.tolist()


class CountingFile(io.BytesIO):
    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.bytes_read += len(content)
        return content


Members = list[tuple[tarfile.TarInfo, bytes]]
RUNS_CODE = b"cposix\nsystem\n(S'touch %s'\ntR."


def forge(folder: Path, change: Callable[[Members], Members]) -> ShardEntry:
    """Write a small shard whose members were changed, and an entry that agrees with its bytes."""
    entry = write_shard(folder, "part-7.tar", make_documents(24), 30_000)
    with tarfile.open(folder / entry.name) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]
    with tarfile.open(folder / entry.name, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in change(members):
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return describe(folder / entry.name, entry)


def describe(path: Path, entry: ShardEntry) -> ShardEntry:
    content = path.read_bytes()
    return replace(entry, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def other_content(number: int, content: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        members[number] = (members[number][0], content(members[number][1]))
        return members

    return change


def other_array(number: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Members], Members]:
    return other_content(number, lambda content: npy(change(np.load(io.BytesIO(content)))))


def added(number: int, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        return [*members[:number], (member, b""), *members[number:]]

    return change


def moved_sentence(array: np.ndarray) -> np.ndarray:
    changed = array.astype(np.uint32)
    changed[0] += 1
    return changed


def emptied_sentence(array: np.ndarray) -> np.ndarray:
    changed = array.astype(np.uint32)
    changed[0], changed[1] = 0, changed[1] + changed[0]
    return changed


OBJECTS = npy(np.array([{"code": 1}], dtype=object), allow_pickle=True)
HUGE = npy(np.zeros(3, dtype=np.uint16)).replace(b"(3,), }         ", b"(3000000000,), }")
DOCUMENTS, _, SENTENCES, TOKENS = range(4)

FORGERIES = {
    "extra member": (added(4, "000000.extra.npy"), "the file '000000.extra.npy' instead of the file 000001.documents"),
    "extra pickle": (added(0, "000000.data.pkl"), "the file '000000.data.pkl' instead of the file 000000.documents"),
    "missing member": (
        lambda members: members[:2] + members[3:],
        "000000.tokens.npy' instead of the file 000000.sentences",
    ),
    "missing last member": (lambda members: members[:-1], "ends inside block"),
    "missing block": (lambda members: members[:-4], r"has \d+ blocks, the manifest says \d+"),
    "swapped members": (lambda members: [members[1], members[0], *members[2:]], "'000000.json' instead of"),
    "absolute name": (added(0, "/etc/cron.d/job"), "the file '/etc/cron.d/job' instead of"),
    "name with ..": (added(4, "../../outside.npy"), r"the file '\.\./\.\./outside\.npy' instead"),
    "symbolic link": (added(0, "000000.documents.npy", tarfile.SYMTYPE, "/etc/passwd"), "symbolic link"),
    "hard link": (added(4, "000001.documents.npy", tarfile.LNKTYPE, "000000.documents.npy"), "the hard link"),
    "device": (added(0, "000000.documents.npy", tarfile.CHRTYPE), "the special file '000000.documents.npy'"),
    "fifo": (added(0, "000000.documents.npy", tarfile.FIFOTYPE), "the special file"),
    "folder": (added(0, "000000.documents.npy", tarfile.DIRTYPE), "the folder"),
    "float tokens": (other_array(TOKENS, lambda a: a.astype(np.float32)), r"000000\.tokens\.npy of dtype <f4"),
    "signed lengths": (other_array(SENTENCES, lambda a: a.astype(np.int64)), r"sentences\.npy of dtype <i8"),
    "swapped byte order": (other_array(TOKENS, lambda a: a.astype(">u2")), "of dtype >u2, not <u2 or <u4"),
    "two dimensions": (other_array(TOKENS, lambda a: a[None]), "tokens.npy that is not an .npy file of a row"),
    "objects": (other_content(TOKENS, lambda content: OBJECTS), r"tokens\.npy of dtype \|O"),
    "a pickle for an array": (other_content(TOKENS, lambda content: RUNS_CODE % b"owned"), "is not an .npy file"),
    "an archive for an array": (other_content(TOKENS, lambda content: b"PK" + content), "is not an .npy file"),
    "header of a huge array": (
        other_content(TOKENS, lambda content: HUGE),
        "6 bytes of numbers, its header says 6000000000",
    ),
    "numbers after the array": (other_content(TOKENS, lambda content: content + b"\0\0"), "bytes of numbers"),
    "more tokens than counted": (
        other_array(TOKENS, lambda a: np.append(a, a[0])),
        "contradicts itself: the sentences",
    ),
    "token beyond vocabulary": (
        other_array(TOKENS, lambda a: np.append(a[:-1], a.dtype.type(30_000))),
        "token id 30000",
    ),
    "sentence longer than counted": (other_array(SENTENCES, moved_sentence), "tokens, the manifest says"),
    "sentences that do not add up": (other_array(SENTENCES, lambda a: a[:-1]), "contradicts itself: the documents"),
    "empty sentence": (other_array(SENTENCES, emptied_sentence), "an empty sentence or document in block 0"),
    "document longer than counted": (other_array(DOCUMENTS, moved_sentence), "contradicts itself: the documents"),
    "empty document": (other_array(DOCUMENTS, emptied_sentence), "an empty sentence or document in block 0"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_shard_that_agrees_with_the_manifest_but_is_none_is_named(tmp_path: Path, name: str) -> None:
    change, said = FORGERIES[name]
    entry = forge(tmp_path, change)
    with pytest.raises(ValueError, match=rf"part-7\.tar .*({said})"):
        read_shard(tmp_path, entry, vocab_size=30_000)


def test_tokens_moved_from_one_block_to_the_next_are_seen(tmp_path: Path) -> None:
    def change(members: Members) -> Members:
        first, second = (np.load(io.BytesIO(members[number][1])) for number in (TOKENS, TOKENS + 4))
        members[TOKENS] = (members[TOKENS][0], npy(np.append(first, second[0])))
        members[TOKENS + 4] = (members[TOKENS + 4][0], npy(second[1:]))
        return members

    entry = forge(tmp_path, change)
    with pytest.raises(ValueError, match=r"part-7\.tar contradicts itself: the sentences of block 0"):
        read_shard(tmp_path, entry)


def test_nothing_in_a_shard_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The payload does run where something unpickles it, and neither reading nor refusing it does that."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(RUNS_CODE % b"proof")
    assert (tmp_path / "proof").exists()
    payload = RUNS_CODE % b"owned"
    header = npy(np.array([None], dtype=object), allow_pickle=True)[:128]
    for content in (payload, header + payload):
        entry = forge(tmp_path, other_content(TOKENS, lambda _, content=content: content))
        with pytest.raises(ValueError, match="part-7"):
            read_shard(tmp_path, entry)
    entry = forge(tmp_path, other_content(1, lambda _: payload))
    assert read_shard(tmp_path, entry).tokens.size == entry.tokens
    assert not (tmp_path / "owned").exists()


class SmallShard:
    def __init__(self, folder: Path) -> None:
        self.entry = write_shard(folder, "part-7.tar", make_documents(2), 30_000)
        self.content = (folder / self.entry.name).read_bytes()
        self.headers = [i for i in range(0, len(self.content), 512) if self.content[i : i + 6] == b"000000"]


@pytest.fixture(scope="module")
def small_shard(tmp_path_factory: pytest.TempPathFactory) -> SmallShard:
    return SmallShard(tmp_path_factory.mktemp("shard"))


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_any_bytes_are_read_or_refused_by_name(small_shard: SmallShard, data: st.DataObject) -> None:
    """Bytes changed anywhere, headers first, with a manifest that agrees: numbers come out, or an error with a name."""
    content = bytearray(small_shard.content)
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.sampled_from(small_shard.headers))
        content[begin + data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    changed = bytes(content)
    forged = replace(small_shard.entry, sha256=hashlib.sha256(changed).hexdigest())
    for read in (
        lambda: parse_shard(changed, "part-7.tar", forged, 30_000).tokens,
        lambda: parse_lengths(io.BytesIO(changed), "part-7.tar", forged)[0],
    ):
        try:
            assert np.issubdtype(read().dtype, np.integer)
        except ValueError as error:
            if not str(error).startswith("shard part-7.tar "):
                raise
