"""Which points need not run again, and what the table says of them."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from bert_lightning.settings.config import filled_in
from bert_lightning.sweeps.outcomes import Outcome, Results, has_come_to_its_end, is_finished, outcomes_table, results
from bert_lightning.sweeps.points import Point


def settings_in(tmp_path: Path, **changes: object) -> DictConfig:
    values = {"run_dir": str(tmp_path), "resume": "auto", "seed": 0, "optimizer": {"lr": 0.1, "betas": [0.9, 0.98]}}
    values |= {"trainer": {"max_steps": 10, "limit_val_batches": 1.0}, "model": {"vocab_size": None}}
    return OmegaConf.create(values | changes)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a run that has come to step 10; of its checkpoint only the name is read."""
    before = filled_in(
        settings_in(tmp_path, resume=None), {"model": {"vocab_size": 99}, "trainer": {"limit_val_batches": 0}}
    )
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(before))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-0000010.ckpt").touch()
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss\n5,2.0,3.5\n8,1.0,2.5\n10,1.0,3.0\n")
    return tmp_path


def test_a_run_is_finished_if_the_same_settings_came_to_the_last_step(trained: Path) -> None:
    assert is_finished(settings_in(trained))
    for changes in (
        {"seed": 1},
        {"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}},
        {"trainer": {"max_steps": 11}},
        {"new": 1},
    ):
        assert not is_finished(settings_in(trained, **changes))
        assert has_come_to_its_end(settings_in(trained, **changes)) == ("trainer" not in changes)
    (trained / "checkpoints" / "step-0000010.ckpt").rename(trained / "checkpoints" / "step-0000009.ckpt")
    assert not is_finished(settings_in(trained))
    (trained / "checkpoints" / "step-0000009.ckpt").unlink()
    assert not is_finished(settings_in(trained))


def test_settings_that_change_nothing_may_differ(trained: Path) -> None:
    """The folder may have been moved too; every value that follows from it is another one then."""
    noted = OmegaConf.load(trained / "config.yaml")
    before = {"run_dir": "runs/a", "output_dir": "runs", "callbacks": {"checkpoint": {"run_dir": "runs/a"}}}
    (trained / "config.yaml").write_text(
        OmegaConf.to_yaml(OmegaConf.merge(noted, before, {"data": {"num_workers": 2}}))
    )
    now = {"output_dir": "elsewhere", "logger": {"csv": None}, "data": {"num_workers": 1}}
    assert is_finished(settings_in(trained, **now, callbacks={"checkpoint": {"run_dir": str(trained)}}))
    assert not is_finished(settings_in(trained, **now, callbacks={"checkpoint": {"run_dir": "runs/b"}}))


def test_a_run_that_lacks_its_last_validation_is_not_finished(trained: Path) -> None:
    """It was killed in the validation; asked for again, it makes up for it."""
    noted = OmegaConf.load(trained / "config.yaml")
    noted.trainer.limit_val_batches = 1.0
    (trained / "config.yaml").write_text(OmegaConf.to_yaml(noted))
    assert is_finished(settings_in(trained))
    (trained / "metrics.csv").write_text("step,train/loss,val/loss\n5,2.0,3.5\n10,1.0,\n")
    assert not is_finished(settings_in(trained))


def test_phases_are_compared_as_a_run_completes_them(trained: Path) -> None:
    """The folder of a run has all settings of every phase, and the command line those that it changes."""
    sizes = {"global_batch_size": 8, "micro_batch_size": 4}
    data = sizes | {"seq_len": 24}
    asked = [{"seq_len": 16, "share": 0.5}, {}]
    phases = [{"steps": 5, "seq_len": 16} | sizes, {"steps": 5, "seq_len": 24} | sizes]
    (trained / "config.yaml").write_text(OmegaConf.to_yaml(settings_in(trained, data=data, phases=phases)))
    assert is_finished(settings_in(trained, data=data, phases=asked))
    assert not is_finished(settings_in(trained, data=data, phases=[{"seq_len": 16, "share": 0.4}, {}]))
    assert not is_finished(settings_in(trained, data=data | {"seq_len": 32}, phases=asked))
    assert not is_finished(settings_in(trained, data=data, phases=None))


def test_results_are_those_of_the_folder(trained: Path, tmp_path: Path) -> None:
    assert results(trained) == Results(10, 3.0, 2.5)
    assert results(tmp_path / "nothing") == Results(0, None, None)


def test_the_table_has_a_row_for_every_point(trained: Path) -> None:
    points = [
        Point(0, "seed=0", ("seed=0",), settings_in(trained)),
        Point(1, "seed=1 \x1b[2J", ("seed=1",), error="wrong"),
        Point(2, "seed=2", ("seed=2",), settings_in(trained)),
    ]
    console = Console(width=200, markup=False)
    with console.capture() as captured:
        console.print(
            outcomes_table([Outcome(p, s) for p, s in zip(points, ("finished", "failed", "not started"), strict=True)])
        )
    rows = [line.replace(" ", "").split("│")[1:-1] for line in captured.get().splitlines() if "│" in line]
    folder = str(trained).replace(" ", "")
    assert rows == [
        ["seed=0", "finished", "10", "3.0000", "2.5000", folder],
        ["seed=1\\x1b[2J", "failed", "0", "-", "-", "-"],
        ["seed=2", "notstarted", "0", "-", "-", folder],
    ]
