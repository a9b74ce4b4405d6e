"""Two runs in one folder: the second waits a little and is refused; one that was killed holds nothing.

Files that two processes write are whole, and those that are damaged are named.
"""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from bert_lightning.settings.run_folder import ABANDONED_SECONDS, RunFolder, partial_path, write_whole
from tests.support.checkout import checkout_environment

HOLD = "import sys, time; from bert_lightning.settings.run_folder import RunFolder\n"
HOLD += "with RunFolder(sys.argv[1]).locked(): print('held', flush=True); time.sleep(float(sys.argv[2]))"


def holder(run_dir: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run_dir), str(seconds)],
        env=checkout_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_at_a_time(tmp_path: Path) -> None:
    process = holder(tmp_path / "run", 60)
    with (
        pytest.raises(ValueError, match=r"another process trains in .*run; end it"),
        RunFolder(tmp_path / "run").locked(0.1),
    ):
        pytest.fail("it is held by another process")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with RunFolder(tmp_path / "run").locked(0.0) as has_waited:
        assert not has_waited
    with RunFolder(tmp_path / "run").locked(0.0) as has_waited:
        assert not has_waited


def test_one_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path, 0.5)
    with RunFolder(tmp_path).locked(30) as has_waited:
        assert has_waited
    assert process.wait() == 0


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def acquire(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with caplog.at_level("WARNING"), RunFolder(tmp_path).locked() as has_waited:
        assert not has_waited
    assert "cannot be locked" in caplog.text


def test_two_may_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one writes it while the first one is about to put its own in place."""
    rename = Path.replace

    def replace(partial: Path, target: Path) -> Path:
        monkeypatch.undo()
        write_whole(target, "the second")
        return rename(partial, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_whole(tmp_path / "report.html", "the first")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "the first"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "report.html", "a page")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_what_killed_processes_have_left_is_cleared_once_it_is_old(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    folder.tables.mkdir()
    save = partial_path(folder.checkpoint(5))
    old, new = (partial_path(folder.path / f"report.html.{name}") for name in ("old", "new"))
    table = partial_path(folder.tables / "guesses.json.old")
    for path in (save, old, new, table):
        path.write_text("cut short")
    for path in (old, table):
        os.utime(path, (path.stat().st_mtime - 2 * ABANDONED_SECONDS,) * 2)
    assert folder.leftovers() == sorted([save, old, table])


def test_the_end_of_a_run_is_that_of_one_step(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.has_ended(0)
    folder.note_end(14)
    assert [step for step in (1, 4, 14, 140) if folder.has_ended(step)] == [14]


@pytest.mark.parametrize("value", ["1.5", "NaN", "Infinity"])
def test_the_best_checkpoint_is_the_one_that_is_noted(tmp_path: Path, value: str) -> None:
    folder = RunFolder(tmp_path)
    assert (folder.noted_best(), folder.best_checkpoint()) == ({}, None)
    folder.checkpoints.mkdir()
    folder.best.write_text(f'{{"checkpoint": "step-0000005.ckpt", "val/loss": {value}}}')
    assert folder.best_checkpoint() is None
    folder.checkpoint(5).write_text("weights")
    assert folder.best_checkpoint() == folder.checkpoint(5)
    noted = folder.noted_best()["val/loss"]
    assert noted == float(value) or (math.isnan(noted) and value == "NaN")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"checkpoint": null}', '{"checkpoint": "step-0000005.ckpt", "val/loss": "low"}', "[" * 100_000, "\0"],
)
def test_a_damaged_note_of_the_best_is_named_and_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    folder.checkpoint(5).write_text("weights")
    folder.best.write_text(content)
    assert folder.best_checkpoint() is None
    assert f"{folder.best} is damaged, so no checkpoint counts as the best: " in caplog.text
