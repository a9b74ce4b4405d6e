"""A disk that is full when a checkpoint is due: the run goes on, the old checkpoint stays, the last one is an error."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_lightning.checkpoints.checkpoint import is_whole
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.run_folder import RunFolder
from tests.support.checkout import torchrun
from tests.support.file_systems import resize, small_file_system
from tests.support.runs import assert_close, run_apart, run_here
from tests.support.settings import NO_DROPOUT, Settings


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A run's folder of checkpoints on a file system of its own."""
    with small_file_system(tmp_path / "runs" / "a" / "checkpoints", "100m") as folder:
        yield folder


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
    base: Settings,
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
    resize(small_disk, f"{room}k")
    full = run_apart(own, tmp_path)
    said = full.stdout + full.stderr
    assert full.returncode != 0
    assert "step 10 is not saved, the run goes on" in said or "async_save" in str(changes)
    assert "No space left" in said or "could not be saved" in said
    assert "Traceback" not in said
    assert read_columns(small_disk.parent / "metrics.csv")["train/loss"][0] == list(range(1, 15))
    assert RunFolder(small_disk.parent).saved() == [old]
    assert is_whole(old)
    resize(small_disk, "100m")
    assert run_apart(own, tmp_path).returncode == 0
    assert_close(tmp_path / "runs" / "a", tmp_path / "runs" / "whole")


@pytest.mark.slow
def test_ranks_of_torchrun_end_if_the_disk_is_full_from_the_start(base: Settings, tmp_path: Path) -> None:
    with small_file_system(tmp_path / "full", "64k") as full:
        (full / "fill").write_bytes(bytes(60 * 1024))
        settings = base | {"strategy": "ddp", "output_dir": full, "run_name": "a"}
        done = run_apart(settings, tmp_path, torchrun(2))
        assert done.returncode != 0
        assert "No space left" in done.stdout + done.stderr
