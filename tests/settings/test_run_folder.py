"""Two runs in one folder: the second waits a little and is refused; one that was killed holds nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from bert_lightning.settings.run_folder import RunFolder
from tests.commands.test_pretrain import own_environment

HOLD = "import sys, time; from bert_lightning.settings.run_folder import RunFolder\n"
HOLD += "with RunFolder(sys.argv[1]).locked(): print('held', flush=True); time.sleep(float(sys.argv[2]))"


def holder(run_dir: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run_dir), str(seconds)],
        env=own_environment(),
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
