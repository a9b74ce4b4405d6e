"""Files appear whole or not at all; the newest are kept; a killed save leaves nothing that looks like a checkpoint."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bert_lightning.callbacks import checkpointing
from bert_lightning.callbacks.checkpointing import PeriodicCheckpoint, remove_checkpoint
from bert_lightning.checkpoints.checkpoint import latest_checkpoint
from bert_lightning.execution.strategies import FullyShardedStrategy
from bert_lightning.objectives.objective import Quantity
from bert_lightning.settings.run_folder import RunFolder, step_of
from bert_lightning.training.atomic_checkpoints import AtomicCheckpointIO


class FakeTrainer(SimpleNamespace):
    strategy: Any = None
    limit_val_batches = 1.0
    ckpt_path = None
    should_stop = False
    loggers: Any = ()

    def save_checkpoint(self, path: Path) -> None:
        AtomicCheckpointIO().save_checkpoint({"step": self.global_step}, path)


def train(callback: PeriodicCheckpoint, steps: range, max_steps: int, val_every: int | None) -> list[str]:
    """Call the hooks as the loop does and return in which of them each checkpoint was saved."""
    trainer = FakeTrainer(
        max_steps=max_steps, is_global_zero=True, val_check_batch=val_every, enable_validation=bool(val_every)
    )
    callback.setup(trainer, None, "fit")
    saved: list[str] = []
    for trainer.global_step in steps:
        for hook in ("batch", "validation"):
            before = callback.saved_step
            if hook == "batch":
                callback.on_train_batch_end(trainer)
            elif val_every and (trainer.global_step % val_every == 0 or trainer.global_step == max_steps):
                callback.on_validation_end(trainer, None)
            saved += [f"{trainer.global_step} {hook}"] * (callback.saved_step != before)
    return saved


def measured(**latest: float) -> Any:
    """A module with a loss, perplexity and the values of its last validation."""
    objective = SimpleNamespace(quantities={"mlm_loss": Quantity("mlm", 1.0, perplexity="perplexity")})
    return SimpleNamespace(objective=objective, latest={f"val/{name}": value for name, value in latest.items()})


def begun(run_dir: Path, **changes: Any) -> tuple[PeriodicCheckpoint, Any]:
    """A run that keeps the best and the newest checkpoint; none is due but at a validation that is the best."""
    callback = PeriodicCheckpoint(run_dir, 1000, 1, "val/loss")
    settings = {"max_steps": 4000, "is_global_zero": True, "val_check_batch": 4, "enable_validation": True}
    trainer: Any = FakeTrainer(**settings, **changes)
    callback.setup(trainer, measured(), "fit")
    return callback, trainer


def validate(callback: PeriodicCheckpoint, trainer: Any, step: int, loss: float) -> None:
    trainer.global_step = step
    callback.on_validation_end(trainer, measured(loss=loss))


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in RunFolder(run_dir).checkpoints.iterdir())


def test_checkpoints_are_saved_before_the_validation_that_follows(tmp_path: Path) -> None:
    saved = train(PeriodicCheckpoint(tmp_path, 4, None), range(1, 15), 14, val_every=8)
    assert saved == ["4 batch", "8 batch", "12 batch", "14 batch"]
    assert train(PeriodicCheckpoint(tmp_path / "b", 4, None), range(1, 15), 14, None)[-1] == "14 batch"


def test_the_newest_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).checkpoints
    sharded = folder / "step-0000002.ckpt"
    sharded.mkdir(parents=True)
    folder.joinpath(".step-0000001.ckpt.partial").write_text("cut short")
    (sharded / "meta.pt").write_text("x")
    train(PeriodicCheckpoint(tmp_path, 5, 2), range(5, 26), 100, None)
    assert names(tmp_path) == ["step-0000020.ckpt", "step-0000025.ckpt"]


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints" / "step-0000001.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(3)}, path)

    def full(content: Any, file: Any) -> None:
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    for name in ("step-0000001.ckpt", "step-0000002.ckpt"):
        with pytest.raises(OSError, match="No space"):
            AtomicCheckpointIO().save_checkpoint({}, path.with_name(name))
    assert latest_checkpoint(tmp_path) == path
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.ones(3))


@pytest.mark.parametrize(("every", "keep"), [(0, 1), (1, 0)])
def test_numbers_below_one_are_refused(tmp_path: Path, every: int, keep: int) -> None:
    with pytest.raises(ValueError, match=r"callbacks\.checkpoint\.\w+ must be a whole number, at least 1.*; got 0"):
        PeriodicCheckpoint(tmp_path, every, keep)


def test_the_best_is_kept_beside_the_newest_also_after_a_resume(tmp_path: Path) -> None:
    """A validation after every fourth step; checkpoints are due after every eighth."""
    losses = {4: 5.0, 8: 3.0, 12: 2.0, 16: 4.0, 20: 3.0, 24: 2.5}
    callback = PeriodicCheckpoint(tmp_path, 8, 1, "val/loss")
    trainer = FakeTrainer(max_steps=40, is_global_zero=True, val_check_batch=4, enable_validation=True)
    callback.setup(trainer, measured(), "fit")  # type: ignore[arg-type]
    for step in range(1, 25):
        if step == 18:
            callback = PeriodicCheckpoint(tmp_path, 8, 1, "val/loss")
            callback.setup(trainer, measured(), "fit")  # type: ignore[arg-type]
        trainer.global_step = step
        callback.on_train_batch_end(trainer)  # type: ignore[arg-type]
        if step in losses:
            module = SimpleNamespace(latest={"val/loss": losses[step]})
            callback.on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert names(tmp_path) == ["best.json", "step-0000012.ckpt", "step-0000024.ckpt"]
    with pytest.raises(ValueError, match=r"keep_best=val/loss is none of val/mlm_loss"):
        callback.on_validation_end(trainer, SimpleNamespace(latest={"val/mlm_loss": 1.0}))  # type: ignore[arg-type]


def full(*args: Any, **changes: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_best_checkpoint_that_cannot_be_saved_takes_the_place_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback, trainer = begun(tmp_path)
    validate(callback, trainer, 4, 3.0)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        validate(callback, trainer, 8, 1.0)
    trainer.global_step = 1000
    callback.on_train_batch_end(trainer)
    assert names(tmp_path) == ["best.json", "step-0000004.ckpt", "step-0001000.ckpt"]
    validate(callback, trainer, 1004, 2.0)
    assert names(tmp_path) == ["best.json", "step-0001004.ckpt"]
    assert json.loads(RunFolder(tmp_path).best.read_text()) == {"checkpoint": "step-0001004.ckpt", "val/loss": 2.0}


class FailingLater(FullyShardedStrategy):
    """A strategy that learns after `save_checkpoint` that the checkpoint could not be written."""

    def __init__(self) -> None:
        pass

    def finish_saving(self) -> None:
        full()


def test_a_best_checkpoint_whose_save_fails_later_takes_the_place_of_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback, trainer = begun(tmp_path)
    validate(callback, trainer, 4, 3.0)
    trainer.strategy, trainer.save_checkpoint = FailingLater(), lambda path: None
    validate(callback, trainer, 8, 1.0)
    assert names(tmp_path) == ["best.json", "step-0000004.ckpt"]
    assert json.loads(RunFolder(tmp_path).best.read_text())["checkpoint"] == "step-0000004.ckpt"
    assert "step 8 is not saved, the run goes on: [Errno 28] No space left" in caplog.text


def test_the_last_checkpoint_of_a_run_that_a_validation_ends_is_waited_for(tmp_path: Path) -> None:
    """Its periodic save, before the validation, is under way."""
    callback = PeriodicCheckpoint(tmp_path, 4)
    trainer: Any = FakeTrainer(max_steps=40, is_global_zero=True, val_check_batch=4, enable_validation=True)
    trainer.global_step, trainer.strategy, trainer.save_checkpoint = 4, FailingLater(), lambda path: None
    callback.setup(trainer, None, "fit")  # type: ignore[arg-type]
    callback.on_train_batch_end(trainer)
    assert callback.saved_step == 4
    trainer.should_stop = True
    with pytest.raises(OSError, match="No space left"):
        callback.on_validation_end(trainer, None)  # type: ignore[arg-type]


def test_what_best_json_names_stays_if_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    callback, trainer = begun(tmp_path)
    validate(callback, trainer, 4, 3.0)
    with monkeypatch.context() as patched:
        patched.setattr(checkpointing, "write_whole", full)
        validate(callback, trainer, 8, 1.0)
    assert names(tmp_path) == ["best.json", "step-0000004.ckpt", "step-0000008.ckpt"]
    assert "best.json is not written, the run goes on: [Errno 28]" in caplog.text
    validate(callback, trainer, 12, 0.5)
    assert names(tmp_path) == ["best.json", "step-0000012.ckpt"]


def test_a_checkpoint_that_cannot_be_removed_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    remove_checkpoint(tmp_path / "step-0000004.ckpt")
    assert "step-0000004.ckpt is not removed, the run goes on: [Errno 2]" in caplog.text


@pytest.mark.parametrize(
    ("metric", "limit", "message"),
    [
        ("val/los", 1.0, "=val/los is none of val/loss, val/mlm_loss, val/perplexity"),
        ("val/loss", 0, "=val/loss is measured by no validation"),
    ],
)
def test_a_best_that_is_never_measured_is_refused_at_once(
    tmp_path: Path, metric: str, limit: float, message: str
) -> None:
    trainer: Any = FakeTrainer(is_global_zero=True, limit_val_batches=limit)
    with pytest.raises(ValueError, match=rf"callbacks\.checkpoint\.keep_best{message}"):
        PeriodicCheckpoint(tmp_path, 4, 1, metric).setup(trainer, measured(), "fit")
    PeriodicCheckpoint(tmp_path, 4, 1, "val/mlm_loss/books").setup(FakeTrainer(is_global_zero=True), measured(), "fit")


def test_an_upload_of_the_best_needs_one(tmp_path: Path) -> None:
    trainer: Any = FakeTrainer(is_global_zero=True, loggers=[SimpleNamespace(uploads="best")])
    with pytest.raises(ValueError, match=r"logger\.wandb\.checkpoints=best needs callbacks\.checkpoint\.keep_best"):
        PeriodicCheckpoint(tmp_path, 4).setup(trainer, measured(), "fit")


def test_steps_are_sorted_as_numbers(tmp_path: Path) -> None:
    train(PeriodicCheckpoint(tmp_path, 5, 2), range(9_999_990, 10_000_006), 20_000_000, None)
    assert names(tmp_path) == ["step-10000000.ckpt", "step-10000005.ckpt"]


def test_a_full_disk_is_an_error_only_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    callback = PeriodicCheckpoint(tmp_path, 2, 1)
    train(callback, range(1, 4), 10, None)

    def full(content: Any, file: Any) -> None:
        file.write(b"PK")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    train(callback, range(4, 8), 10, None)
    assert names(tmp_path) == ["step-0000002.ckpt"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "step 4 is not saved, the run goes on",
        "step 6 is not saved, the run goes on",
    ]
    with pytest.raises(OSError, match=r"step-0000010.ckpt could not be saved: PytorchStreamWriter failed"):
        train(callback, range(10, 11), 10, None)
    assert names(tmp_path) == ["step-0000002.ckpt"]


def test_ranks_that_see_different_checkpoints_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shared folder with a cache of its own on every node can lead to."""
    monkeypatch.setattr("bert_lightning.callbacks.checkpointing.gather_objects", lambda value: [value, "step-5"])
    with pytest.raises(ValueError, match=r"do not see the same newest checkpoint in .*: rank 0: None; rank 1: step-5"):
        train(PeriodicCheckpoint(tmp_path, 5), range(0), 1, None)


def test_checkpoints_are_also_saved_by_the_clock(tmp_path: Path) -> None:
    """A step takes a minute, and every save begins the time anew."""
    now = 0.0
    callback = PeriodicCheckpoint(tmp_path, 10, None, every_minutes=4, clock=lambda: now)
    trainer = FakeTrainer(max_steps=30, is_global_zero=True, val_check_batch=None, enable_validation=False)
    callback.setup(trainer, None, "fit")  # type: ignore[arg-type]
    for trainer.global_step in range(1, 24):
        now += 60
        callback.on_train_batch_end(trainer)  # type: ignore[arg-type]
    assert [step_of(path) for path in RunFolder(tmp_path).saved()] == [4, 8, 10, 14, 18, 20]


def test_only_the_clock_of_the_first_rank_decides(tmp_path: Path) -> None:
    callback = PeriodicCheckpoint(tmp_path, 10, None, every_minutes=1, clock=iter(range(0, 10**6, 60)).__next__)
    trainer = FakeTrainer(max_steps=30, is_global_zero=False, val_check_batch=None, enable_validation=False)
    callback.setup(trainer, None, "fit")  # type: ignore[arg-type]
    for trainer.global_step in range(1, 10):
        callback.on_train_batch_end(trainer)  # type: ignore[arg-type]
    assert RunFolder(tmp_path).saved() == []


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), "soon"])
def test_minutes_that_are_none_are_refused(tmp_path: Path, minutes: Any) -> None:
    with pytest.raises(ValueError, match=rf"every_minutes must be a number above 0, or null; got {minutes}"):
        PeriodicCheckpoint(tmp_path, 1, every_minutes=minutes)


@pytest.mark.parametrize(("free", "keep_last", "said"), [(2_900, 2, True), (3_000, 2, False), (3_900, None, True)])
def test_a_disk_with_too_little_room_is_named_before_the_first_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    free: int,
    keep_last: int | None,
    said: bool,
) -> None:
    """A checkpoint has 1,000 bytes, with the moments; two are kept while a third is written, or four in all."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    module = torch.nn.ParameterList([torch.zeros(80), torch.nn.Parameter(torch.zeros(10), requires_grad=False)])
    callback = PeriodicCheckpoint(tmp_path, 5, keep_last)
    trainer = FakeTrainer(max_steps=20, global_step=0, is_global_zero=True)
    callback.on_train_start(trainer, module)  # type: ignore[arg-type]
    expected = [
        f"{tmp_path}/checkpoints may run out of space: {keep_last + 1 if keep_last else 4} checkpoints of about 0.0 MB"
    ]
    assert [record.getMessage().split(" need")[0] for record in caplog.records] == (expected if said else [])


def test_older_checkpoints_that_are_replaced_count_as_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    RunFolder(tmp_path).checkpoints.mkdir()
    RunFolder(tmp_path).checkpoint(5).write_bytes(bytes(2_000))
    module = torch.nn.ParameterList([torch.zeros(80), torch.nn.Parameter(torch.zeros(10), requires_grad=False)])
    trainer = FakeTrainer(max_steps=20, global_step=5, is_global_zero=True)
    PeriodicCheckpoint(tmp_path, 5, 2).on_train_start(trainer, module)  # type: ignore[arg-type]
    assert caplog.records == []
