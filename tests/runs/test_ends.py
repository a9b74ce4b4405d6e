"""A run that was killed after its last step makes its end once more: its best checkpoint, its report, all its rows."""

import json
from pathlib import Path

import pytest

from bert_lightning.pretrain import pretrain
from bert_lightning.settings.run_folder import RunFolder
from tests.support.runs import compose_here, repeatable, run_here
from tests.support.settings import Settings


@pytest.mark.parametrize("validates", [True, False])
def test_what_follows_the_last_step_is_made_up_for(base: Settings, tmp_path: Path, validates: bool) -> None:
    settings = base | {"run_name": "a", "resume": "auto", "callbacks.guesses": None}
    settings |= {"callbacks.checkpoint.keep_best": "val/loss"} if validates else {"trainer.limit_val_batches": 0}
    run_here(settings)
    run = RunFolder(tmp_path / "runs" / "a")
    rows, best = repeatable(run.path), run.noted_best()
    run.ended_file.unlink()
    run.report.unlink()
    if validates:
        run.best.write_text(json.dumps({"checkpoint": "step-0000010.ckpt", "val/loss": 1e9}))
    assert run_here(settings).global_step == 14
    assert repeatable(run.path) == rows
    assert run.noted_best() == best
    assert run.report.exists()
    assert pretrain(compose_here("pretrain", settings)) is None
