"""A run begins only where it has chosen to begin, and its end is recorded once all of it is done."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bert_lightning.settings.config import Processes
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.training import started_run
from bert_lightning.training.started_run import started, train


def test_what_has_come_before_the_folder_was_held_is_not_set_aside(tmp_path: Path) -> None:
    """The other process has ended, so nobody was waited for."""
    folder, processes = RunFolder(tmp_path), Processes("cpu", 1, 1, launched=False, own_gpus=False)
    with started(folder, None, None, "max_steps: 7", processes, ["from the start"]):
        folder.metrics.write_text("step,loss\n7,0.5\n")
    before = folder.log.read_text()
    again = started(folder, None, None, "max_steps: 9", processes, ["from the start"])
    with (
        pytest.raises(ValueError, match=r"another run has meanwhile gone on in .*; give the same command again"),
        again,
    ):
        pytest.fail("it would set aside what the other one has made")
    assert (folder.config.read_text(), folder.log.read_text()) == ("max_steps: 7", before)


@pytest.mark.parametrize(
    ("variables", "resume", "launcher"),
    [
        ({"TORCHELASTIC_MAX_RESTARTS": "3"}, None, "torchrun"),
        ({"SLURM_PROCID": "0"}, None, "SLURM"),
        ({"SLURM_PROCID": "0"}, "auto", None),
        ({}, None, None),
    ],
)
def test_a_run_that_its_launcher_cannot_continue_says_so_at_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    resume: str | None,
    launcher: str | None,
) -> None:
    monkeypatch.setattr(started_run, "has_terminal", lambda: False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    processes = Processes("cpu", 1, 1, launched=False, own_gpus=False)
    with started(RunFolder(tmp_path), None, resume, "max_steps: 7", processes, []):
        pass
    said = f"if {launcher} starts this command again, resume=null refuses to continue the run; resume=auto continues it"
    assert caplog.messages == ([said] if launcher else [])


@pytest.mark.parametrize(("step", "preempted", "has_ended"), [(7, False, True), (6, False, False), (7, True, False)])
def test_the_end_is_recorded_when_nothing_is_left_to_do(
    tmp_path: Path, step: int, preempted: bool, has_ended: bool
) -> None:
    folder = RunFolder(tmp_path)
    trainer: Any = SimpleNamespace(
        max_steps=7,
        global_step=step,
        is_global_zero=True,
        callbacks=[SimpleNamespace(), SimpleNamespace(preempted=preempted)],
        fit=lambda *args, **options: None,
    )
    module: Any = None
    train(trainer, module, module, None, folder)
    assert folder.has_ended(7) == has_ended
