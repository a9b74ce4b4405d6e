"""metrics.csv: rows survive a resume, come out as if there had been none, and are never half-written."""

import csv
from pathlib import Path

import pytest

from bert_lightning.metrics.metrics_log import MetricsCsv, read_columns, read_rows


def write(run_dir: Path, steps: range, extra: str = "") -> Path:
    logger = MetricsCsv(run_dir)
    for step in steps:
        logger.log_metrics({"train/loss": 1 / step}, step)
        logger.log_metrics({"optim/lr": step * 0.1} | ({extra: 1.0} if extra else {}), step)
    return logger.path


@pytest.mark.parametrize("killed_after", [5, 9, 12])
def test_an_interrupted_and_resumed_run_has_the_rows_of_a_whole_one(tmp_path: Path, killed_after: int) -> None:
    whole = write(tmp_path / "whole", range(1, 13))
    write(tmp_path / "part", range(1, killed_after + 1))
    part = write(tmp_path / "part", range(5, 13))  # resumed from the checkpoint of step 4
    assert part.read_text() == whole.read_text()


def test_a_resume_keeps_the_rest_of_the_row_it_begins_with(tmp_path: Path) -> None:
    """The first value after a resume can be of the very step that was saved."""
    path = write(tmp_path, range(1, 8))
    MetricsCsv(tmp_path).log_metrics({"val/loss": 0.5}, 4)
    rows = read_rows(path)
    assert sorted(rows) == [1, 2, 3, 4]
    assert rows[4] == {"step": "4", "train/loss": "0.25", "optim/lr": "0.4", "val/loss": "0.5"}


def test_new_columns_may_come_later(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    path = write(tmp_path, range(4, 6), extra="val/loss")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["val/loss"] for row in rows] == ["", "", "", "1.0", "1.0"]
    assert read_columns(path)["val/loss"] == ([4, 5], [1.0, 1.0])


def test_a_value_of_an_earlier_step_joins_its_row(tmp_path: Path) -> None:
    logger = MetricsCsv(tmp_path)
    for step, values in [(1, {"a": 1.0}), (3, {"a": 3.0}), (1, {"b": 10.0}), (2, {"a": 2.0}), (3, {"b": 30.0})]:
        logger.log_metrics(values, step)
    assert read_columns(logger.path) == {"a": ([1, 2, 3], [1.0, 2.0, 3.0]), "b": ([1, 3], [10.0, 30.0])}
    assert logger.path.read_text().splitlines() == ["step,a,b", "1,1.0,10.0", "2,2.0,", "3,3.0,30.0"]


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-300, float("inf"), 123456789.123456789]
    logger = MetricsCsv(tmp_path)
    for step, value in enumerate(values):
        logger.log_metrics({"x": value}, step)
    assert read_columns(logger.path)["x"][1] == values


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel does not count written bytes here")
def test_a_call_writes_one_row_however_long_the_file_is(tmp_path: Path) -> None:
    """A call writes its row, and once more the row before it, which another call might have completed."""

    def written() -> int:
        return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])

    logger = MetricsCsv(tmp_path)
    logger.log_metrics({f"val/{i}": 1.0 for i in range(20)} | {"train/loss": 0.0}, 1000)
    bytes_of_call = []
    for step in range(1001, 3001):
        before = written()
        logger.log_metrics({"train/loss": 1 / 3}, step)
        bytes_of_call.append(written() - before)
    row = ",".join(["1001", str(1 / 3), *[""] * 20]) + "\n"
    assert set(bytes_of_call[1:]) == {2 * len(row)}
    assert len(read_rows(logger.path)) == 2001


def test_a_file_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new column needs another file, which takes the place of the old one when it is whole."""
    path = write(tmp_path, range(1, 4))
    before = path.read_text()

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricsCsv(tmp_path).log_metrics({"val/loss": 1.0}, 4)
    assert path.read_text() == before


def test_a_file_that_a_crash_cut_short_reads_and_goes_on(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", range(1, 9)).read_bytes()
    path = write(tmp_path / "cut", range(1, 6))
    content = path.read_bytes()
    last = content.rindex(b"\n5,") + 1
    for length in (last + 1, last + 6, len(content) - 1):
        path.write_bytes(content[:length])
        assert list(read_rows(path)) == [1, 2, 3, 4]
        write(tmp_path / "cut", range(5, 9))
        assert path.read_bytes() == whole
    path.write_bytes(content[:last] + b"\0" * (len(content) - last) + b"\n")  # as a lost page leaves it
    assert list(read_rows(path)) == [1, 2, 3, 4]
    write(tmp_path / "cut", range(5, 9))
    assert list(read_rows(path)) == list(range(1, 9))


def test_a_value_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step"):
        MetricsCsv(tmp_path).log_metrics({"x": 1.0})


@pytest.mark.parametrize("late", [{}, {"y": 1.0}])
def test_a_full_disk_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: dict[str, float]) -> None:
    """What could not be written comes with the next row; the rows before it can be read in between."""
    logger = MetricsCsv(tmp_path)
    logger.log_metrics({"x": 1.0}, 1)

    def full(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        logger.log_metrics({"x": 2.0} | late, 2)
        logger.log_metrics({"x": 3.0}, 3)
    assert list(read_rows(logger.path)) == [1]
    logger.log_metrics({"x": 4.0}, 4)
    assert [row["x"] for row in read_rows(logger.path).values()] == ["1.0", "2.0", "3.0", "4.0"]
    logger.log_metrics({"x": 5.0}, 5)
    assert list(read_rows(logger.path)) == [1, 2, 3, 4, 5]
