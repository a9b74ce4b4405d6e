"""The record of a resume from a named checkpoint: what it leaves out, who has begun with it, and records of others."""

import doctest
from pathlib import Path

import pytest

from bert_lightning.settings import run_branch
from bert_lightning.settings.run_branch import Branch, launch_of
from bert_lightning.settings.run_folder import RunFolder

JOB = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "2"}


def folder_with(tmp_path: Path, *steps: int) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir(parents=True)
    for step in steps:
        folder.checkpoint(step).write_text(str(step))
    return folder


def test_what_is_left_behind_is_no_checkpoint_of_the_run_any_more(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 5, 10, 15)
    assert folder.saved() == [folder.checkpoint(step) for step in (5, 10, 15)]
    folder.note_branch(Branch("x", "", 5, 1, complete=False))
    assert folder.saved() == [folder.checkpoint(5)]
    assert folder.newer_than(5) == [folder.checkpoint(10), folder.checkpoint(15)]
    folder.note_branch(Branch("x", "", 5, 1, complete=True))
    assert folder.saved() == [folder.checkpoint(step) for step in (5, 10, 15)]
    assert folder.branch() == Branch("x", "", 5, 1, complete=True)


@pytest.mark.parametrize("restart", [JOB, TORCHRUN])
def test_only_a_restart_of_the_same_launch_goes_on_with_a_branch(tmp_path: Path, restart: dict[str, str]) -> None:
    named = tmp_path / "x.ckpt"
    branch = Branch(str(named), launch_of(restart), 5, 1, complete=True)
    assert branch.is_gone_on_with(named, restart)
    assert not branch.is_gone_on_with(tmp_path / "y.ckpt", restart)
    assert not branch.is_gone_on_with(named, {name: "0" if "COUNT" in name else id for name, id in restart.items()})
    assert not branch.is_gone_on_with(named, {name: value for name, value in restart.items() if "COUNT" not in name})
    assert not branch.is_gone_on_with(named, {name: f"{value}1" for name, value in restart.items()})
    assert not branch.is_gone_on_with(named, {})
    assert not Branch(str(named), launch_of(restart), 5, 1, complete=False).is_gone_on_with(named, restart)


def test_a_checkpoint_is_of_the_run_whatever_way_leads_to_it(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "run", 5)
    (tmp_path / "link.ckpt").symlink_to(folder.checkpoint(5))
    (tmp_path / "runs").symlink_to(tmp_path / "run")
    assert folder.holds(tmp_path / "link.ckpt")
    assert folder.holds(tmp_path / "runs" / "checkpoints" / "step-0000005.ckpt")
    assert not folder.holds(tmp_path / "run" / "step-0000005.ckpt")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"origin": "x", "launch": "", "step": -1, "number": 1, "complete": true}',
        '{"origin": "x", "launch": "", "step": 1, "number": "../../etc", "complete": true}',
    ],
)
def test_a_record_of_a_stranger_is_refused_by_name(tmp_path: Path, text: str) -> None:
    RunFolder(tmp_path).branch_file.write_text(text)
    with pytest.raises(ValueError, match=r"\.branch\.json") as raised:
        RunFolder(tmp_path).saved()
    assert len(str(raised.value).splitlines()) == 1


def test_examples() -> None:
    assert doctest.testmod(run_branch).failed == 0
