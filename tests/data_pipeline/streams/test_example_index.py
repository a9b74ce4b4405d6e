"""The example index: counted once by one of many processes, ahead of need, and whole whatever is killed."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from filelock import FileLock

from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams import example_index, shard_counters
from data_pipeline.streams.example_index import ExampleIndex
from tests.support.file_systems import small_file_system


def open_index(prepared: Path, cache: Path) -> ExampleIndex:
    folder = PreparedFolder(prepared, cache)
    return ExampleIndex(folder, "train", folder.manifest, SegmentPairs(), 48, 0)


def counts(prepared: Path, cache: Path, barrier: Barrier | None = None) -> list[int]:
    index = open_index(prepared, cache)
    if barrier is not None:
        barrier.wait()
    return index.counts(0).tolist()


@pytest.fixture
def three_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the nine shards of the tiny corpus counted in three processes, two shards at a time."""
    for module in (example_index, shard_counters):
        monkeypatch.setattr(module, "SHARDS_AT_ONCE", 2)
    monkeypatch.setattr(example_index, "num_processors", lambda: 12)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("three_processes")
def test_processes_count_what_one_counts(prepared: Path, tmp_path: Path) -> None:
    index = open_index(prepared, tmp_path)
    assert index._count(3) == index._count_range(0, 9, 3)
    assert len(index._count(3)) == 9


@pytest.mark.usefixtures("three_processes")
def test_counting_ahead_writes_what_later_epochs_need(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [open_index(prepared, tmp_path / "alone").counts(variant).tolist() for variant in (1, 2)]
    open_index(prepared, tmp_path).count_ahead([1, 2])
    wait_until(lambda: len(list((tmp_path / "index").glob("*.json"))) == 2)
    monkeypatch.setattr(ExampleIndex, "_count", lambda *_: pytest.fail("counted twice"))
    assert [open_index(prepared, tmp_path).counts(variant).tolist() for variant in (1, 2)] == expected


def test_few_shards_are_not_counted_ahead(prepared: Path, tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    open_index(prepared, tmp_path).count_ahead([1, 2])
    assert set(multiprocessing.active_children()) <= before
    assert not tmp_path.joinpath("index").exists()


def test_who_comes_too_early_waits_for_the_one_that_counts(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(prepared, tmp_path)
    expected = index._count_range(0, 9, 0)
    monkeypatch.setattr(ExampleIndex, "_count", lambda *_: pytest.fail("did not wait"))
    path = index._path(0)
    path.parent.mkdir()
    with FileLock(path.with_suffix(".lock"), thread_local=False) as lock:

        def finish() -> None:
            path.write_text(json.dumps(expected))
            lock.release()

        threading.Timer(0.3, finish).start()
        assert index.counts(0).tolist() == expected


def _hold(path: Path) -> None:
    with FileLock(path):
        path.with_suffix(".held").touch()
        time.sleep(60)


def test_who_waits_long_says_so_once_and_goes_on_waiting_until_the_other_has_ended(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(example_index, "QUIET_SECONDS", 0.05)
    index = open_index(prepared, tmp_path)
    lock = index._path(0).with_suffix(".lock")
    lock.parent.mkdir()
    holder = multiprocessing.get_context("fork").Process(target=_hold, args=(lock,))
    holder.start()
    wait_until(lock.with_suffix(".held").exists)
    counted: list[list[int]] = []
    waiter = threading.Thread(target=lambda: counted.append(index.counts(0).tolist()))
    waiter.start()
    wait_until(lambda: bool(caplog.records))
    time.sleep(1.5)
    assert not counted
    holder.kill()
    waiter.join(30)
    assert counted == [index._count_range(0, 9, 0)]
    (said,) = caplog.messages
    assert said == f"another process counts examples and holds {lock}; waiting until it has finished"


def _count_ahead_and_die(prepared: Path, cache: Path, pids: Path) -> None:
    index = open_index(prepared, cache)
    fast = index._count_range
    index._count_range = lambda *stretch: (time.sleep(0.2), fast(*stretch))[1]  # type: ignore[method-assign]
    index.count_ahead([0, 1, 2])
    pids.write_text(json.dumps([child.pid for child in multiprocessing.active_children()]))
    os.kill(os.getpid(), signal.SIGKILL)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system does not list processes")
@pytest.mark.usefixtures("three_processes")
def test_a_kill_leaves_no_process_and_nothing_wrong(prepared: Path, tmp_path: Path) -> None:
    arguments = (prepared, tmp_path, tmp_path / "pids")
    process = multiprocessing.get_context("fork").Process(target=_count_ahead_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    pids = json.loads((tmp_path / "pids").read_text())
    assert len(pids) == 3
    wait_until(lambda: not any(map(_is_running, pids)))
    index = open_index(prepared, tmp_path)
    assert [index.counts(v).tolist() for v in range(3)] == [index._count_range(0, 9, v) for v in range(3)]


@pytest.mark.usefixtures("three_processes")
def test_a_counter_that_is_killed_is_done_without(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = counts(prepared, tmp_path / "alone")
    here, fast = os.getpid(), ExampleIndex._count_range

    def die_elsewhere(self: ExampleIndex, *stretch: int) -> list[int]:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return fast(self, *stretch)

    monkeypatch.setattr(ExampleIndex, "_count_range", die_elsewhere)
    assert counts(prepared, tmp_path) == expected


@pytest.mark.usefixtures("three_processes")
def test_what_a_counter_finds_wrong_is_said_in_one_line(prepared: Path, tmp_path: Path) -> None:
    index = open_index(prepared, tmp_path)
    index._folder.manifest.save(tmp_path)  # a folder of a manifest alone
    lost = ExampleIndex(PreparedFolder(tmp_path), "train", index._folder.manifest, SegmentPairs(), 48, 0)
    with pytest.raises(ValueError, match=r"^file [^\n]*part-00000\.tar\.lengths is missing$"):
        lost.counts(0)


def test_processes_that_make_the_cache_together_do_not_disturb_each_other(prepared: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    expected = counts(prepared, tmp_path / "alone")
    (kept,) = (path for path in (tmp_path / "alone").rglob("*") if path.is_file())
    for trial in range(5):
        cache, barrier = tmp_path / str(trial), context.Barrier(4)
        with context.Pool(4, initializer=_set, initargs=(prepared, cache, barrier)) as pool:
            assert pool.map(_own, range(4), chunksize=1) == [expected] * 4
        (made,) = (path for path in cache.rglob("*") if path.is_file())
        assert made.name == kept.name
        assert made.read_bytes() == kept.read_bytes()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own without a free block."""
    with small_file_system(tmp_path / "full", "4k") as folder:
        (folder / "index").mkdir()
        (folder / "other").write_bytes(bytes(4096))
        yield folder


def test_a_full_disk_costs_only_time(prepared: Path, tmp_path: Path, full_disk: Path) -> None:
    assert counts(prepared, full_disk) == counts(prepared, tmp_path / "alone")
    assert list((full_disk / "index").iterdir()) == []


def test_a_folder_that_cannot_be_made_costs_only_time(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert counts(prepared, tmp_path / "file") == counts(prepared, tmp_path / "alone")


def _set(*arguments: object) -> None:
    globals()["_arguments"] = arguments


def _own(number: int) -> list[int]:
    return counts(*globals()["_arguments"])


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "{}",
        "[1]",
        "[1, 1, 1, 1, 1, 1, 1, 1, -1]",
        "[1, 1, 1, 1, 1, 1, 1, 1, 1000000000000]",
        "[1, 1, 1, 1, 1, 1, 1, 1, 9999999999999999999999]",
        "[1, 1, 1, 1, 1, 1, 1, 1, 1.5]",
        "[1, 1, 1, 1, 1, 1, 1, 1, true]",
        '[1, 1, 1, 1, 1, 1, 1, 1, "1"]',
        "[[1], [1], [1], [1], [1], [1], [1], [1], [1]]",
    ],
    ids=lambda content: content[-30:],
)
def test_counts_that_no_shard_can_give_are_counted_again(prepared: Path, tmp_path: Path, content: str) -> None:
    expected = counts(prepared, tmp_path)
    (kept,) = (path for path in tmp_path.rglob("*") if path.is_file())
    right = kept.read_text()
    kept.write_text(content)
    assert counts(prepared, tmp_path) == expected
    assert kept.read_text() == right


def test_links_lead_neither_reading_nor_writing_outside(prepared: Path, tmp_path: Path) -> None:
    expected = counts(prepared, tmp_path / "cache")
    (kept,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    (tmp_path / "outside").write_text("[]")
    kept.unlink()
    kept.symlink_to(tmp_path / "outside")
    assert counts(prepared, tmp_path / "cache") == expected
    assert (tmp_path / "outside").read_text() == "[]"
    assert not kept.is_symlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "index").symlink_to(tmp_path / "elsewhere")
    assert counts(prepared, tmp_path / "linked") == expected
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_may_not_be_written_to_is_counted_once(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for the counts every process would count the whole corpus at every epoch boundary."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    folder = PreparedFolder(prepared)
    assert folder.index_dir == tmp_path / "bert-lightning" / "index"
    first = ExampleIndex(folder, "train", folder.manifest, SegmentPairs(), 48, 0).counts(0)
    monkeypatch.setattr(ExampleIndex, "_count", lambda self, variant: pytest.fail("counted again"))
    again = ExampleIndex(PreparedFolder(prepared), "train", folder.manifest, SegmentPairs(), 48, 0).counts(0)
    assert again.tolist() == first.tolist()
