"""A run that chooses what it starts from, and finds that another process has gone on meanwhile, or that all is done."""

from pathlib import Path

import pytest
import torch

from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.training.starting_point import StartingPoint, has_ended, was_overtaken


def save(folder: RunFolder, step: int, content: object = 0) -> StartingPoint:
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    torch.save({"content": content}, folder.checkpoint(step))
    return StartingPoint(folder.checkpoint(step), step, {})


def test_a_checkpoint_that_another_process_has_saved_meanwhile_is_seen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not was_overtaken(None, "auto", folder)
    start = save(folder, 10)
    assert was_overtaken(None, "auto", folder)
    assert not was_overtaken(start, "auto", folder)
    folder.checkpoint(20).write_text("damaged, so it was passed over")
    assert not was_overtaken(start, "auto", folder)
    save(folder, 15)
    folder.checkpoint(10).unlink()  # as keep_last does
    assert was_overtaken(start, "auto", folder)
    assert not was_overtaken(start, str(folder.checkpoint(10)), folder)  # newer ones are set aside, as is asked for


def test_a_whole_run_that_has_come_meanwhile_is_seen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not was_overtaken(None, None, folder)
    save(folder, 10)
    assert was_overtaken(None, None, folder)


@pytest.mark.parametrize("is_of_another_run", [False, True])
def test_a_run_has_ended_when_what_follows_its_last_step_is_done(tmp_path: Path, is_of_another_run: bool) -> None:
    folder = RunFolder(tmp_path / "run")
    start = save(RunFolder(tmp_path / "other") if is_of_another_run else folder, 10)
    assert not has_ended(None, folder, 10)
    assert not has_ended(start, folder, 20)
    assert has_ended(start, folder, 10) == is_of_another_run
    save(folder, 10)
    folder.note_end(10)
    assert has_ended(start, folder, 10)
