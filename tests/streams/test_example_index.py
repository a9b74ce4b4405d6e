"""The cache of the example index: processes that make it at the same time agree, and a damaged one is made again."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.prepared.prepared_folder import PreparedFolder
from data_pipeline.streams.example_index import ExampleIndex
from tests.support.file_systems import small_file_system


def counts(prepared: Path, cache: Path, barrier: Barrier | None = None) -> list[int]:
    folder = PreparedFolder(prepared, cache)
    index = ExampleIndex(folder, "train", folder.manifest, SegmentPairs(), 48, 0)
    if barrier is not None:
        barrier.wait()
    return index.counts(0).tolist()


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
