"""A full disk takes the report, or the rest of the digests, and not the run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bert_lightning.callbacks import reporting
from bert_lightning.callbacks.digests import BatchDigests
from bert_lightning.callbacks.reporting import Report
from bert_lightning.reports import report

FULL = "the run goes on: [Errno 28] No space left on device"


def full(*args: Any) -> None:
    raise OSError(28, "No space left on device")


def first_rank(global_step: int) -> Any:
    return SimpleNamespace(is_global_zero=True, global_step=global_step)


def test_a_run_goes_on_without_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module, name in ((reporting, "write_shown"), (reporting, "write_about"), (report, "write_report")):
        monkeypatch.setattr(module, name, full)
    monkeypatch.setattr(reporting, "_about", lambda *args: None)
    callback: Any = Report(tmp_path)
    callback.on_train_start(first_rank(0), SimpleNamespace(objective=SimpleNamespace(quantities={})))
    (tmp_path / "metrics.csv").touch()
    callback.on_train_end(first_rank(1), None)
    said = [record.getMessage() for record in caplog.records]
    names = ("quantities.json", "about.json", "report.html")
    assert said == [f"{tmp_path / name} is not written, {FULL}" for name in names]


def test_digests_end_with_the_room_and_their_lines_stay_those_of_their_steps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "digests.txt"
    callback: Any = BatchDigests(path)
    callback.on_train_start(first_rank(0), None)
    callback.on_train_batch_end(first_rank(1), None, None, [], 0)
    callback.path = Path("/dev/full")
    callback.on_train_batch_end(first_rank(2), None, None, [], 1)
    assert [record.getMessage() for record in caplog.records] == [f"/dev/full ends before step 2, {FULL}"]
    callback.path = path
    callback.on_train_batch_end(first_rank(3), None, None, [], 2)
    first, *others = path.read_text().splitlines()
    assert (len(first), others) == (64, [])
    resumed: Any = BatchDigests(path)
    resumed.on_train_start(first_rank(3), None)
    resumed.on_train_batch_end(first_rank(4), None, None, [], 3)
    assert path.read_text().splitlines() == [first, "", "", first]
