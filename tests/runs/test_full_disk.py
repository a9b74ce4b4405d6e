"""A disk that is full when a checkpoint is due: the run goes on, the old checkpoint stays, the last one is an error."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_lightning.checkpoints.checkpoint import is_whole
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.run_folder import RunFolder
from tests.commands.test_pretrain import (
    NO_DROPOUT,
    Settings,
    _one_thread,  # noqa: F401
    assert_close,
    base,  # noqa: F401
    run_apart,
    run_here,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A run's folder of checkpoints on a file system of its own."""
    folder = tmp_path / "runs" / "a" / "checkpoints"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def size_of(checkpoint: Path) -> int:
    files = checkpoint.rglob("*") if checkpoint.is_dir() else [checkpoint]
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in files)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"strategy": "ddp", "trainer.devices": 2}, marks=pytest.mark.slow),
        pytest.param({"strategy": "fsdp", "trainer.devices": 2}, marks=pytest.mark.slow),
        pytest.param({"strategy": "fsdp", "trainer.devices": 2, "strategy.async_save": True}, marks=pytest.mark.slow),
    ],
    ids=["one", "ddp", "fsdp", "fsdp-async"],
)
def test_the_run_goes_on_and_the_old_checkpoint_stays(
    base: Settings,  # noqa: F811
    tmp_path: Path,
    small_disk: Path,
    changes: Settings,
) -> None:
    settings = base | NO_DROPOUT | changes | {"trainer.log_every_n_steps": 1, "schedule": "constant"}
    run_here(base | NO_DROPOUT | {"run_name": "whole", "schedule": "constant", "trainer.log_every_n_steps": 1})
    own = settings | {"run_name": "a", "resume": "auto"}
    first = run_apart(own | {"trainer.max_steps": 5}, tmp_path)
    assert first.returncode == 0, first.stderr
    (old,) = RunFolder(small_disk.parent).saved()
    room = size_of(old) * 3 // 2 // 1024
    subprocess.run(["mount", "-o", f"remount,size={room}k", str(small_disk)], check=True)
    full = run_apart(own, tmp_path)
    said = full.stdout + full.stderr
    assert full.returncode != 0
    assert "step 10 is not saved, the run goes on" in said or "async_save" in str(changes)
    assert "No space left" in said or "could not be saved" in said
    assert "Traceback" not in said
    assert read_columns(small_disk.parent / "metrics.csv")["train/loss"][0] == list(range(1, 15))
    assert RunFolder(small_disk.parent).saved() == [old]
    assert is_whole(old)
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert run_apart(own, tmp_path).returncode == 0
    assert_close(tmp_path / "runs" / "a", tmp_path / "runs" / "whole")
