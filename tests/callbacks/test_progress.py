"""One line every few steps where nobody watches."""

import doctest
import logging
from pathlib import Path

import pytest

from bert_lightning.callbacks import progress
from bert_lightning.callbacks.progress import ProgressReport
from tests.support.training import fit, make_module, make_objective


def test_examples() -> None:
    assert doctest.testmod(progress).failed == 0


def test_lines_come_every_few_steps_and_at_the_end(
    caplog: pytest.LogCaptureFixture, prepared: Path, tmp_path: Path
) -> None:
    with caplog.at_level(logging.INFO, "bert_lightning"):
        fit(make_module(make_objective(prepared), 5), prepared, tmp_path, 5, 32, callbacks=[ProgressReport(2)])
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("bert_lightning")]
    assert [line.split()[1] for line in lines] == ["2/5", "4/5", "5/5", "5"]
    assert "loss" in lines[0]
    assert "held-out: val/loss" in lines[3]


def test_no_steps_between_lines_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^callbacks\.progress\.every_n_steps must be .*; got 0$"):
        ProgressReport(every_n_steps=0)
