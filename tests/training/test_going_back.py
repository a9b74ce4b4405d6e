"""What is newer than the checkpoint of a resume is set aside, whole and in one place, wherever a kill comes between."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bert_lightning.settings.run_branch import Branch
from bert_lightning.settings.run_folder import RunFolder
from bert_lightning.training.going_back import set_newer_aside
from bert_lightning.training.starting_point import StartingPoint

METRICS = "step,loss\n" + "".join(f"{step},0.5\n" for step in (5, 7, 10, 12, 15, 20))
DIGESTS = "".join(f"digest {step}\n" for step in range(1, 21))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that has come to step 20, with a sharded checkpoint at step 15."""
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    for step in (5, 10, 20):
        folder.checkpoint(step).write_text(f"first {step}")
    folder.checkpoint(15).mkdir()
    (folder.checkpoint(15) / "meta.pt").write_text("first 15")
    folder.config.write_text("first")
    folder.report.write_text("first")
    folder.best.write_text('{"checkpoint": "step-0000015.ckpt", "val/loss": 1.0}')
    folder.metrics.write_text(METRICS)
    folder.digests.write_text(DIGESTS)
    (folder.wandb / "offline-run-20261127_120000-abc").mkdir(parents=True)
    (folder.wandb / "offline-run-20261127_120000-abc" / "log").write_text("first")
    folder.wandb_id.write_text("abc\n")
    return folder


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def go_back(folder: RunFolder, step: int, resume: str | None = None, checkpoint: Path | None = None) -> None:
    path = checkpoint or folder.checkpoint(step)
    set_newer_aside(folder, StartingPoint(path, step, {}), resume or str(path), {})


def assert_is_at_step_ten(run: RunFolder, number: int = 1) -> None:
    aside = run.set_aside(number)
    assert run.saved() == [run.checkpoint(5), run.checkpoint(10)]
    assert run.metrics.read_text() == "step,loss\n5,0.5\n7,0.5\n10,0.5\n"
    assert run.digests.read_text().splitlines()[-1] == "digest 10"
    assert content(run.checkpoints) == {"step-0000005.ckpt": "first 5", "step-0000010.ckpt": "first 10"}
    assert not run.report.exists()
    assert content(aside.path) == {
        "checkpoints/step-0000015.ckpt/meta.pt": "first 15",
        "checkpoints/step-0000020.ckpt": "first 20",
        "checkpoints/best.json": '{"checkpoint": "step-0000015.ckpt", "val/loss": 1.0}',
        "config.yaml": "first",
        "metrics.csv": METRICS,
        "digests.txt": DIGESTS,
        "report.html": "first",
        "wandb/offline-run-20261127_120000-abc/log": "first",
        "wandb_id": "abc\n",
    }
    assert run.wandb_run() != "abc"  # W&B would drop the rows of the new branch


def test_what_is_newer_is_moved_and_said_in_one_line(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    go_back(run, 10)
    assert_is_at_step_ten(run)
    assert [record.getMessage() for record in caplog.records] == [
        f"what {run.path} held after step 10 is set aside: step-0000015.ckpt, step-0000020.ckpt and the metrics "
        f"are now in {run.path}/set-aside/1"
    ]
    assert run.branch() == Branch(str(run.checkpoint(10)), "", 10, 1, complete=True)


def test_a_second_branch_has_another_folder(run: RunFolder) -> None:
    go_back(run, 10)
    run.checkpoint(12).write_text("second 12")
    go_back(run, 10)
    assert_is_at_step_ten(run)
    assert content(run.set_aside(2).checkpoints) == {"step-0000012.ckpt": "second 12"}


@pytest.mark.parametrize("damage", ["", "{", '{"checkpoint": 7}'])
def test_the_best_that_is_older_stays_and_a_damaged_file_does_not(run: RunFolder, damage: str) -> None:
    if damage:
        run.best.write_text(damage)
    go_back(run, 15)
    assert run.best.exists() == (not damage)
    assert run.saved()[-1] == run.checkpoint(15)


@pytest.mark.parametrize("resume", ["auto", "named"])
def test_the_newest_checkpoint_leaves_everything_in_place(
    run: RunFolder, resume: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = content(run.path)
    go_back(run, 20, "auto" if resume == "auto" else None)
    assert {name: text for name, text in content(run.path).items() if name != ".branch.json"} == before
    assert not caplog.records


def test_a_run_that_goes_on_makes_later_rows_anew_and_has_not_ended(run: RunFolder) -> None:
    """It may have other settings, so no row and no cell of before may pass for one of them."""
    run.checkpoint(20).unlink()
    run.note_end(20)
    go_back(run, 15, "auto")
    assert run.metrics.read_text().endswith("\n15,0.5\n")
    assert not run.has_ended(20)
    assert not run.set_aside(1).path.exists()
    run.metrics.write_text(METRICS)
    set_newer_aside(run, StartingPoint(Path("another/step-0000010.ckpt"), 10, {}), "auto", {})
    assert run.metrics.read_text() == "step,loss\n"


def test_rows_that_have_no_checkpoint_are_kept_too_if_a_checkpoint_is_named(run: RunFolder) -> None:
    run.checkpoint(20).unlink()
    go_back(run, 15)
    assert run.metrics.read_text().endswith("\n15,0.5\n")
    assert run.set_aside(1).metrics.read_text() == METRICS


def test_what_is_damaged_is_set_aside_by_auto(run: RunFolder) -> None:
    """`find_checkpoint` has passed over steps 15 and 20; otherwise they would count as the newest to keep."""
    go_back(run, 10, "auto")
    assert_is_at_step_ten(run)


def test_a_run_that_begins_again_sets_aside_what_is_damaged(run: RunFolder) -> None:
    set_newer_aside(run, None, "auto", {})
    assert run.saved() == []
    assert run.branch() is None
    assert len(run.set_aside(1).newer_than(0)) == 4


def test_nothing_of_another_run_is_touched(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    other.checkpoints.mkdir(parents=True)
    other.checkpoint(3).write_text("other 3")
    before = content(run.path)
    go_back(other, 10, checkpoint=run.checkpoint(10))
    assert content(run.path) == before
    assert other.saved() == []  # they are of another branch, whatever their steps are
    assert content(other.set_aside(1).checkpoints) == {"step-0000003.ckpt": "other 3"}


class Killed(BaseException):
    """The end of a process."""


@contextmanager
def killed_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> Iterator[None]:
    """End the process before a renaming, which is how every file gets its name here."""
    plain, left = Path.replace, [calls]

    def replace(self: Path, target: Any) -> Path:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return plain(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        yield


@pytest.mark.parametrize("calls", range(13))
@pytest.mark.parametrize("then", ["auto", "named"])
def test_a_kill_between_two_moves_leaves_a_run_that_goes_on_from_there(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, calls: int, then: str
) -> None:
    with killed_after(monkeypatch, calls), pytest.raises(Killed):
        go_back(run, 10)
    newest = run.saved()[-1]
    assert newest == run.checkpoint(20 if calls == 0 else 10)  # the record comes first
    if calls == 0 and then == "auto":
        return
    go_back(run, 10, "auto" if then == "auto" else None)
    assert_is_at_step_ten(run)
    assert run.branch() == Branch(str(run.checkpoint(10)), "", 10, 1, complete=True)


def test_the_kills_come_between_all_moves(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with killed_after(monkeypatch, 13):
        go_back(run, 10)
    assert_is_at_step_ten(run)


def test_after_a_kill_a_newer_checkpoint_can_be_named_as_long_as_it_is_there(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_after(monkeypatch, 4), pytest.raises(Killed):
        go_back(run, 10)
    assert run.saved() == [run.checkpoint(5), run.checkpoint(10)]
    go_back(run, 15)
    assert run.saved() == [run.checkpoint(5), run.checkpoint(10), run.checkpoint(15)]
    assert run.set_aside(1).newer_than(0) == [run.set_aside(1).checkpoint(20)]
