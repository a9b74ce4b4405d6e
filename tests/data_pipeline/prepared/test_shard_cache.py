"""The cache of a node: whole files only, shared by racing and dying processes, within its limit."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.prepared import shard_cache, transfer
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.shard_cache import ABANDONED_SECONDS, ShardCache
from data_pipeline.prepared.storage import HttpStorage
from tests.support.checkout import checkout_environment
from tests.support.faulty_server import FaultyServer, serve

SIZE = 50_000


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    (tmp_path / "served").mkdir()
    with serve(tmp_path / "served") as running:
        yield running


def publish(server: FaultyServer, name: str, seed: int = 0, size: int = SIZE) -> ShardEntry:
    content = np.random.default_rng(seed).bytes(size)
    path = server.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return ShardEntry(path.name, size, hashlib.sha256(content).hexdigest(), 1, 1, 1, 1)


def cache_at(tmp_path: Path, max_bytes: int | None = None, retries: int = 2) -> ShardCache:
    return ShardCache(tmp_path / "cache", max_bytes, retries)


def digest(cache: ShardCache, storage: HttpStorage, entry: ShardEntry) -> str:
    with cache.open(storage, entry) as file:
        return hashlib.sha256(file.read()).hexdigest()


def kept(cache: ShardCache) -> list[str]:
    return sorted(path.suffix for path in (cache.folder / "shards").iterdir())


def test_a_shard_is_fetched_once(server: FaultyServer, tmp_path: Path) -> None:
    entry, cache, storage = publish(server, "a.tar"), cache_at(tmp_path), HttpStorage(server.url)
    assert [digest(cache, storage, entry) for _ in range(3)] == [entry.sha256] * 3
    assert len(server.requests) == 1
    assert kept(cache) == [".tar"]


def test_the_same_name_under_two_addresses_is_two_shards(server: FaultyServer, tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    entries = {part: publish(server, f"{part}/part-0.tar", seed) for seed, part in enumerate(["wiki", "books"])}
    for part, entry in entries.items():
        assert digest(cache, HttpStorage(f"{server.url}/{part}"), entry) == entry.sha256
    assert len(server.requests) == 2


def test_what_was_prepared_anew_under_an_address_is_fetched_anew(server: FaultyServer, tmp_path: Path) -> None:
    cache, storage = cache_at(tmp_path), HttpStorage(server.url)
    for seed in range(2):
        entry = publish(server, "a.tar", seed)
        assert digest(cache, storage, entry) == entry.sha256


@pytest.mark.parametrize("fault", [404, "wrong", "truncate", "drop", 503])
def test_what_could_not_be_fetched_leaves_nothing(server: FaultyServer, tmp_path: Path, fault: str | int) -> None:
    entry, cache = publish(server, "a.tar"), cache_at(tmp_path)
    server.faults["a.tar"] = [fault] * 3
    with pytest.raises(ValueError, match=rf"{server.url}/a\.tar"):
        cache.open(HttpStorage(server.url), entry)
    assert kept(cache) == []


def test_a_file_of_another_length_is_fetched_again(server: FaultyServer, tmp_path: Path) -> None:
    entry, cache, storage = publish(server, "a.tar"), cache_at(tmp_path), HttpStorage(server.url)
    digest(cache, storage, entry)
    (path,) = (cache.folder / "shards").iterdir()
    os.truncate(path, 100)
    assert digest(cache, storage, entry) == entry.sha256
    assert len(server.requests) == 2


def test_the_shards_used_longest_ago_are_removed(server: FaultyServer, tmp_path: Path) -> None:
    cache, storage = cache_at(tmp_path, max_bytes=3 * SIZE), HttpStorage(server.url)
    entries = [publish(server, f"{number}.tar", number) for number in range(4)]
    for age, entry in enumerate(entries[:3]):
        digest(cache, storage, entry)
        os.utime(cache._path(storage, entry), (time.time() - 100 + age,) * 2)
    digest(cache, storage, entries[0])
    digest(cache, storage, entries[3])
    assert kept(cache) == [".tar"] * 3
    server.requests.clear()
    for number in (0, 2, 3):
        digest(cache, storage, entries[number])
    assert server.requests == []
    digest(cache, storage, entries[1])
    assert server.requests == [("1.tar", None)]


def test_who_reads_a_shard_that_is_removed_reads_on(server: FaultyServer, tmp_path: Path) -> None:
    cache, storage = cache_at(tmp_path, max_bytes=SIZE), HttpStorage(server.url)
    first, second = (publish(server, f"{number}.tar", number) for number in range(2))
    for _ in range(2):  # fetched, then from the cache
        with cache.open(storage, first) as file:
            begin = file.read(1000)
            assert digest(cache, storage, second) == second.sha256
            assert hashlib.sha256(begin + file.read()).hexdigest() == first.sha256
    assert kept(cache) == [".tar"]


def test_a_shard_above_the_limit_is_refused(server: FaultyServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.cache_bytes=49999 cannot hold the 50000 bytes of a\.tar"):
        cache_at(tmp_path, SIZE - 1).open(HttpStorage(server.url), publish(server, "a.tar"))


def test_a_cache_that_cannot_be_written_is_named(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ValueError, match=rf"data\.cache_dir={tmp_path}/cache cannot be written to"):
        cache_at(tmp_path).open(HttpStorage(server.url), publish(server, "a.tar"))


def read_all(cache: ShardCache, url: str, entries: list[ShardEntry], seed: int) -> list[bool]:
    order = np.random.default_rng(seed).permutation(len(entries))
    return [digest(cache, HttpStorage(url), entries[number]) == entries[number].sha256 for number in order]


@pytest.mark.parametrize(("room", "requests"), [(None, 12), (4 * SIZE, None)])
def test_processes_that_race_for_one_cache_get_whole_shards(
    server: FaultyServer, tmp_path: Path, room: int | None, requests: int | None
) -> None:
    cache = cache_at(tmp_path, room)
    entries = [publish(server, f"{number}.tar", number) for number in range(12)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(read_all, [(cache, server.url, entries, seed) for seed in range(4)])
    assert found == [[True] * 12] * 4
    assert set(kept(cache)) == {".tar"}
    if requests is None:
        assert len(kept(cache)) <= 4
    else:
        assert len(server.requests) == requests


KILLED = """
import sys
from pathlib import Path
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.shard_cache import ShardCache
from data_pipeline.prepared.storage import HttpStorage
url, folder, sha256 = sys.argv[1:]
ShardCache(Path(folder), None, 0).open(HttpStorage(url), ShardEntry("a.tar", 500_000, sha256, 1, 1, 1, 1))
"""


def test_a_process_killed_while_it_fetches_leaves_nothing_that_is_taken_for_whole(
    server: FaultyServer, tmp_path: Path
) -> None:
    entry, cache = publish(server, "a.tar", size=500_000), cache_at(tmp_path)
    server.faults["a.tar"] = ["slow"]
    arguments = [sys.executable, "-c", KILLED, server.url, str(cache.folder), entry.sha256]
    process = subprocess.Popen(arguments, env=checkout_environment())
    shards = cache.folder / "shards"
    while not (shards.is_dir() and any(path.stat().st_size for path in shards.iterdir())):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert kept(cache) == [".partial"]
    assert digest(cache, HttpStorage(server.url), entry) == entry.sha256
    assert kept(cache) == [".tar"]
    assert server.requests[-1][1] is not None, "it was begun anew"


def test_what_killed_processes_left_long_ago_is_removed(server: FaultyServer, tmp_path: Path) -> None:
    entry, cache = publish(server, "a.tar"), cache_at(tmp_path, 10 * SIZE)
    old, new = (cache.folder / "shards" / name for name in ("old.partial", "new.partial"))
    old.parent.mkdir(parents=True)
    old.touch()
    new.touch()
    os.utime(old, (time.time() - ABANDONED_SECONDS - 1,) * 2)
    digest(cache, HttpStorage(server.url), entry)
    assert (old.exists(), new.exists()) == (False, True)


HOLDER = """
import sys, time
from pathlib import Path
from data_pipeline.prepared.shard_cache import ShardCache
with ShardCache(Path(sys.argv[1]), None, 0)._lock(sys.argv[2], "to fetch a.tar"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_is_never_given_back_is_named_with_its_holder(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_cache, "SILENT_SECONDS", 0.2)
    entry, cache, storage = publish(server, "a.tar"), cache_at(tmp_path), HttpStorage(server.url)
    (cache.folder / "locks").mkdir(parents=True)
    name = cache._path(storage, entry).name[:2]
    arguments = [sys.executable, "-c", HOLDER, str(cache.folder), name]
    environment = checkout_environment()
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        said = rf"locks/{name}\.lock is held by process {process.pid} on \S+, to fetch a\.tar, and nothing has come for"
        with pytest.raises(ValueError, match=said):
            cache.open(storage, entry)
        process.kill()
    assert digest(cache, storage, entry) == entry.sha256


def test_a_slow_transfer_is_waited_for_as_long_as_bytes_come(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_cache, "SILENT_SECONDS", 0.2)
    entry, cache, storage = publish(server, "a.tar", size=500_000), cache_at(tmp_path), HttpStorage(server.url)
    server.faults["a.tar"] = ["slow"]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: digest(cache, storage, entry), range(2))) == [entry.sha256] * 2
    assert len(server.requests) == 1
