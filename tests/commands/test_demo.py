"""The pages around `make demo`: figures beside guessing, held-out sentences with one mask each, a forecast."""

import re
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bert_lightning import demo
from bert_lightning.demo import LONGEST, SENTENCES, SHORTEST, forecast, held_out_sentences, show
from bert_lightning.export import export
from data_pipeline.prepared.prepared_folder import PreparedFolder
from tests.support.corpora import read_shard
from tests.support.runs import compose_here, run_here
from tests.support.settings import Settings


def test_the_last_page_shows_figures_beside_guessing(
    base: Settings, tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    run_here(base | {"trainer.max_steps": 2, "trainer.val_check_interval": 2, "data.validation_samples": 20})
    (run,) = (tmp_path / "runs").iterdir()
    export(compose_here("export", {"checkpoint": run, "output_dir": tmp_path / "hf"}))
    show(prepared, run, tmp_path / "hf")
    page = capsys.readouterr().out
    for row in ("MLM loss", "first guess", "first 5 guesses", "NSP accuracy"):
        (line,) = [line for line in page.splitlines() if row in line]
        model, guessing, better = (float(cell) for cell in re.findall(r"-?\d+\.\d+", line))
        sign = -1 if row == "MLM loss" else 1
        assert sign * (model - guessing) == pytest.approx(better, abs=0.11)
    below = page.split("What it would fill in")[1].splitlines()
    rows = [line for line in below if "[MASK]" in line and line.startswith("│")]
    assert len(rows) == SENTENCES
    end = page.split("next:")[-1].splitlines()
    assert [Path(line.split()[0]).name for line in end] == ["bert-fill-mask", "bert-finetune", "bert-prepare"]
    folders = {Path(line.split()[0]).parent for line in end}
    assert folders == {Path(".")} or {folder.absolute() for folder in folders} == {Path(sys.executable).parent}


def test_sentences_are_held_out_and_fit_a_line(prepared: Path, tokenizer: Tokenizer) -> None:
    folder = PreparedFolder(prepared)
    found = list(held_out_sentences(prepared))
    lengths = []
    for entry in folder.manifest.splits["validation"]:
        shard = read_shard(prepared, entry)
        lengths += [int(length) for length in shard.sentence_offsets[1:] - shard.sentence_offsets[:-1]]
    assert [len(ids) for ids in found] == [length for length in lengths if SHORTEST <= length <= LONGEST]


def test_the_forecast_says_minutes_and_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "seconds_of_steps", lambda setting, phases: 60.0 * len(phases))
    assert re.match(
        r"the training steps will take about 2\.0 minutes on this machine \(\d+ processors, [\w-]+\)", forecast()
    )
