"""A prepared folder elsewhere gives what it gives here, and says what is wrong with it where it is not whole."""

import pickle
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from data_pipeline.masking.masking import TokenMasking
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.prepared import transfer
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams.packed_batch import batch_digest
from data_pipeline.streams.samples import PretrainingSamples
from tests.support.checkout import run_command
from tests.support.faulty_server import FaultyServer, serve
from tests.support.object_store import s3_server
from tests.support.runs import run_here
from tests.support.settings import TINY
from tests.support.streams import GLOBAL_BATCH, make_samples, make_stream

PART = "train/part-00004.tar"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def server(prepared: Path, tmp_path: Path) -> Iterator[FaultyServer]:
    """A server over a copy of the prepared folder; what was read elsewhere has not left an index in it."""
    copy = Path(shutil.copytree(prepared, tmp_path / "served", ignore=shutil.ignore_patterns("index")))
    with serve(copy) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("aws")) as client:
        client.create_bucket(Bucket="corpora")
        for path in prepared.rglob("*.*"):
            client.upload_file(str(path), "corpora", f"tiny/{path.relative_to(prepared)}")
        yield "s3://corpora/tiny"


def digests(folder: PreparedFolder | Path, num_workers: int = 0) -> list[str]:
    stream = make_stream(make_samples(folder), num_workers=num_workers)
    return [batch_digest(batches) for batches in islice(stream, 8)]


def test_a_tilde_in_cache_dir_is_the_home_of_the_user(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PreparedFolder(prepared, cache_dir="~/cache").index_dir == tmp_path / "cache" / "index"


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("scheme", ["http", "s3", "pipe"])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_stream_is_the_same_wherever_the_folder_is(
    prepared: Path, server: FaultyServer, bucket: str, tmp_path: Path, scheme: str, num_workers: int
) -> None:
    path = {"http": server.url, "s3": bucket, "pipe": f"pipe:cat {prepared}/{{name}}"}[scheme]
    server.faults = {PART: [503, "drop"], "train/part-00001.tar": ["wrong"], "manifest.json": ["drop"]}
    folder = PreparedFolder(path, tmp_path / "cache")
    assert digests(folder, num_workers) == digests(prepared)
    assert make_samples(folder).fingerprint() == make_samples(prepared).fingerprint()


def test_shards_are_fetched_once_a_node_and_the_index_is_kept_beside_them(server: FaultyServer, tmp_path: Path) -> None:
    first = digests(PreparedFolder(server.url, tmp_path / "cache"), num_workers=0)
    names = [name for name, _ in server.requests]
    assert names.count(PART) == 1
    server.requests.clear()
    assert digests(PreparedFolder(server.url, tmp_path / "cache")) == first
    assert server.requests == [("manifest.json", None)]
    assert list((tmp_path / "cache" / "index").iterdir())
    assert not (server.folder / "index").exists()


def test_a_cache_too_small_for_the_corpus_changes_nothing(prepared: Path, server: FaultyServer, tmp_path: Path) -> None:
    room = 3 * (prepared / PART).stat().st_size
    folder = PreparedFolder(server.url, tmp_path / "cache", room)
    assert digests(folder) == digests(prepared)
    time.sleep(0.2)
    assert sum(path.stat().st_size for path in (tmp_path / "cache" / "shards").glob("*.tar")) <= room


def test_the_tokenizer_comes_along(prepared: Path, server: FaultyServer, tmp_path: Path) -> None:
    folder = PreparedFolder(server.url, tmp_path / "cache").tokenizer_dir
    for path in (prepared / "tokenizer").iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_another_tokenizer_than_that_of_the_shards_is_refused(server: FaultyServer, tmp_path: Path) -> None:
    file = server.folder / "tokenizer" / "tokenizer.json"
    file.write_text(file.read_text().replace('"lowercase":true', '"lowercase":false').replace("true", "false", 1))
    folder = PreparedFolder(server.url, tmp_path / "cache", retries=1)
    said = rf"{server.url}/tokenizer/tokenizer\.json could not .* in 2 attempts .* is not the tokenizer that the shards"
    with pytest.raises(ValueError, match=said):
        make_samples(folder)
    assert not list((tmp_path / "cache" / "tokenizers").iterdir())


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("fault", ["truncate", "wrong", "longer", "drop", "text"])
def test_manifest_and_tokenizer_are_fetched_again_where_they_come_damaged(
    prepared: Path, server: FaultyServer, tmp_path: Path, name: str, fault: str
) -> None:
    server.faults = {name: [fault] * 2}
    assert PreparedFolder(server.url, tmp_path / "cache").tokenizer_dir.is_dir()
    assert [asked for asked, _ in server.requests].count(name) == 3
    server.faults = {name: [fault] * 2}
    with pytest.raises(
        ValueError, match=rf"^{server.url}/{name} could not be fetched in 2 attempts \(data\.retries=1\)"
    ):
        assert PreparedFolder(server.url, tmp_path / "another", retries=1).tokenizer_dir
    assert not list((tmp_path / "another").rglob("*.json"))


def test_a_manifest_of_another_format_is_not_fetched_again(server: FaultyServer, tmp_path: Path) -> None:
    path = server.folder / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 3', '"format_version": 1'))
    with pytest.raises(ValueError, match=rf"^{server.url}/manifest\.json has format_version 1"):
        PreparedFolder(server.url, tmp_path / "cache")
    assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_what_a_worker_cannot_fetch_ends_the_stream_with_one_line(server: FaultyServer, tmp_path: Path) -> None:
    samples = make_samples(PreparedFolder(server.url, tmp_path / "cache", retries=1))
    shutil.rmtree(tmp_path / "cache" / "shards")
    server.faults = {entry.name: [503] * 99 for entry in samples.entries}
    with pytest.raises(
        ValueError, match=rf"^{server.url}/train/part-\d+\.tar could not be fetched in 2 attempts .*: HTTP 503 [\w ]+$"
    ):
        next(iter(make_stream(samples, num_workers=1)))


def test_the_next_window_is_fetched_while_one_is_read(server: FaultyServer, tmp_path: Path) -> None:
    folder = PreparedFolder(server.url, tmp_path / "cache")
    samples = make_samples(folder)
    samples.index.counts(0)
    shutil.rmtree(tmp_path / "cache" / "shards")
    server.requests.clear()
    plan = samples.epoch_plan(0)
    lane = next(number for number, windows in enumerate(plan.windows) if len(windows) > 1)
    samples._window(0, lane, 0)
    expected = [samples.entries[shard].name for window in plan.windows[lane][:2] for shard in window.shards]
    deadline = time.monotonic() + 20
    while len(server.requests) < len(expected) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(name for name, _ in server.requests) == sorted(expected)


def test_a_shard_that_spoils_in_the_cache_is_fetched_again_once(server: FaultyServer, tmp_path: Path) -> None:
    folder = PreparedFolder(server.url, tmp_path / "cache")
    entry = folder.manifest.splits["train"][4]
    (good,) = folder.read([entry])
    (path,) = (tmp_path / "cache" / "shards").iterdir()
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    assert folder.read([entry])[0].tokens.tolist() == good.tokens.tolist()
    assert len([name for name, _ in server.requests if name == PART]) == 2
    path.write_bytes(b"\0" * len(content))
    without_lengths_file = replace(entry, side_files={})
    assert folder.read_lengths([without_lengths_file])[0][0].tolist() == good.sentence_offsets.tolist()
    assert len([name for name, _ in server.requests if name == PART]) == 3


def test_counting_examples_elsewhere_fetches_no_shard(server: FaultyServer, tmp_path: Path) -> None:
    samples = PretrainingSamples(PreparedFolder(server.url, tmp_path), "train", SegmentPairs(), TokenMasking(), 48, 3)
    samples.index.counts(1)
    fetched = [name for name, _ in server.requests if name.startswith("train/")]
    assert sorted(fetched) == [f"train/part-{number:05d}.tar.lengths" for number in range(9)]


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    elif how == "header":
        content[2] ^= 255
    elif how == "swapped":
        other = path.with_name("part-00005.tar")
        content, swapped = other.read_bytes(), content
        other.write_bytes(swapped)
    path.write_bytes(content[: {"cut at a block": len(content) // 1024 * 512, "cut": 700}.get(how, len(content))])
    if how == "missing":
        path.unlink()


DAMAGES = ["flipped", "header", "swapped", "cut at a block", "cut", "missing"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("scheme", ["local", "http", "pipe"])
def test_damage_is_named_wherever_the_shard_is(server: FaultyServer, tmp_path: Path, how: str, scheme: str) -> None:
    damage(server.folder / PART, how)
    path = {"local": server.folder, "http": server.url, "pipe": f"pipe:cat {server.folder}/{{name}}"}[scheme]
    causes = {
        "local": "altered: its sha256|truncated or overwritten: .* the manifest says|missing",
        "http": r"sha256 is not the one|more than|bytes, the manifest says|does not exist: HTTP 404",
        "pipe": r"sha256 is not the one|more than|bytes, the manifest says|exit status 1: cat: .*No such file",
    }
    folder = PreparedFolder(path, tmp_path / "cache", retries=1)
    with pytest.raises(ValueError, match=rf"part-0000[45]\.tar.*({causes[scheme]})"):
        folder.read(folder.manifest.splits["train"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{url}/none", r"{url}/none/manifest\.json does not exist: HTTP 404"),
        ("pipe:cat /none/{name}", r"pipe:cat /none/manifest\.json could not be fetched in 2 attempts.*No such file"),
        ("s3:/missing-slash", "is not a folder prepared by bert-prepare"),
        ("ftp://host/data", "is neither a folder nor an address of http, https, s3, gs, pipe"),
    ],
)
def test_what_is_no_prepared_folder_is_named(server: FaultyServer, tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("{url}", server.url)):
        PreparedFolder(path.replace("{url}", server.url), tmp_path, retries=1)


def test_an_index_that_does_not_fit_the_shards_is_named(prepared: Path, server: FaultyServer, tmp_path: Path) -> None:
    digests(PreparedFolder(prepared, tmp_path / "own"))
    (index,) = (tmp_path / "own" / "index").iterdir()
    numbers = index.read_text().strip("[]").split(", ")
    index.write_text(f"[{', '.join([str(int(numbers[0]) + 1), *numbers[1:]])}]")
    with pytest.raises(ValueError, match=r"example index in .*own/index says that shard .*delete the index"):
        digests(PreparedFolder(prepared, tmp_path / "own"))


def test_it_can_be_sent_to_another_process_while_it_fetches_ahead(server: FaultyServer, tmp_path: Path) -> None:
    folder = PreparedFolder(server.url, tmp_path / "cache")
    folder.prefetch(folder.manifest.splits["train"])
    copy = pickle.loads(pickle.dumps(folder))
    copy.prefetch(folder.manifest.splits["train"])
    assert [shard.name for shard in copy.read(folder.manifest.splits["train"][:2])] == [
        entry.name for entry in folder.manifest.splits["train"][:2]
    ]


def test_the_commands_take_an_address(prepared: Path, tmp_path: Path) -> None:
    settings = ["data.seq_len=48", "data.num_lanes=4", "data.window_shards=2", "seed=3", "data.micro_batch_size=8"]
    done = run_command(
        "inspect_stream",
        f'data.path="pipe:cat {prepared}/{{name}}"',
        "digests=digests.txt",
        "data.cache_dir=cache",
        f"data.global_batch_size={GLOBAL_BATCH}",
        "num_batches=8",
        *settings,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "digests.txt").read_text().split() == digests(prepared)


def test_a_run_trains_from_an_address(server: FaultyServer, tmp_path: Path) -> None:
    settings = TINY | {"data.path": server.url, "data.cache_dir": tmp_path / "cache", "output_dir": tmp_path / "runs"}
    trainer = run_here(settings | {"trainer.max_steps": 2})
    assert trainer.global_step == 2
    assert (tmp_path / "runs" / "bert" / "metrics.csv").exists()
