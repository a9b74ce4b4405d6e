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
