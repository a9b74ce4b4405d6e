"""What is finished stays beside what is trained later: seeds of one mean are of one task, points may diverge."""

import json
import logging
import shutil
from contextlib import nullcontext
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from tokenizers import Tokenizer

from bert_lightning.finetuning import seed_run
from bert_lightning.metrics.metrics_log import read_columns
from bert_lightning.settings.run_folder import RunFolder
from tests.finetuning.tiny_task import finetune_here, settings, write_texts
from tests.support.runs import repeatable
from tests.support.settings import Settings


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Settings:
    """One seed that is trained; its settings."""
    given = settings(tmp_path_factory.mktemp("finished"), tokenizer) | {"epochs": 1, "callbacks.report": None}
    finetune_here(given)
    return given


def test_a_seed_that_was_told_to_stop_leaves_the_other_processes_before_the_command_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After Ctrl-C the first process ends with an error, and nothing that follows is called."""
    calls = Mock()
    calls.hand_over.side_effect = KeyboardInterrupt
    for name in ("shut_down", "hand_over"):
        monkeypatch.setattr(seed_run, name, getattr(calls, name))
    for name, value in (("has_ended", False), ("train_seed", None), ("was_signaled", True)):
        monkeypatch.setattr(seed_run, name, Mock(return_value=value))
    with pytest.raises(KeyboardInterrupt):
        seed_run.run_seed(Mock(device_type="cpu"), Mock(scores=None))
    assert [name for name, *_ in calls.mock_calls] == ["shut_down", "hand_over"]


def test_a_seed_that_patience_has_ended_makes_no_step_more(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the end of the training and its scores does not make the training longer."""
    given = settings(tmp_path, tokenizer) | {"patience": 1, "epochs": 6, "optimizer.lr": 1e-9}
    given["callbacks.checkpoint.every_n_steps"] = 3  # the last step is saved after its validation
    finetune_here(given | {"run_name": "whole"})
    with monkeypatch.context() as patched:
        patched.setattr(seed_run, "_score", Mock(side_effect=SystemExit))
        with pytest.raises(SystemExit):
            finetune_here(given)
    finetune_here(given | {"resume": "auto"})
    whole, found = (Path(str(given["output_dir"])) / name / "seed-0" for name in ("whole", "run"))
    assert read_columns(found / "metrics.csv")["val/accuracy"][0] == [4, 8]
    assert (found / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()


@pytest.mark.parametrize("every_n_steps", [3, 4])
def test_a_larger_patience_goes_on_with_a_seed_that_a_smaller_one_has_ended(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, every_n_steps: int
) -> None:
    """Whether the last step was saved before its validation or after it."""
    given = settings(tmp_path, tokenizer) | {"patience": 1, "epochs": 6, "optimizer.lr": 1e-9}
    given["callbacks.checkpoint.every_n_steps"] = every_n_steps
    with monkeypatch.context() as patched:
        patched.setattr(seed_run, "_score", Mock(side_effect=SystemExit))
        with pytest.raises(SystemExit):
            finetune_here(given)
    finetune_here(given | {"resume": "auto", "patience": 3})
    rows = read_columns(Path(str(given["output_dir"])) / "run" / "seed-0" / "metrics.csv")
    assert rows["val/accuracy"][0] == [4, 8, 12, 16]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"task.text": "other"}, r"task\.text was text, is other"),
        ({"task.metrics": "[accuracy]"}, r"task\.metrics was \['accuracy', 'macro_f1'\], is \['accuracy'\]"),
        ({"optimizer.lr": 1e-3}, r"optimizer\.lr was 0\.003, is 0\.001"),
        ({"epochs": 2}, r"epochs was 1, is 2|trainer\.max_steps was 4, is 8"),
        ({"data.seq_len": 16}, r"data\.seq_len was 32, is 16"),
    ],
)
def test_more_seeds_of_another_training_are_refused(finished: Settings, more: dict[str, Any], message: str) -> None:
    said = rf"seed-0 is finished, and the other seeds would differ .*: ({message}).*; another run_name starts"
    with pytest.raises(ValueError, match=said) as caught:
        finetune_here(finished | {"seeds": 2, "resume": "auto"} | more)
    assert "\n" not in str(caught.value)
    assert not (Path(str(finished["output_dir"])) / "run" / "seed-1").exists()


def test_more_seeds_of_other_files_are_refused(finished: Settings) -> None:
    path = Path(str(finished["task.path"]))
    kept = {file: file.read_text() for file in path.iterdir()}
    write_texts(path, {"dev": 20})
    (path / "test.tsv").write_text("text\nalpha\n")
    said = r"validation has 30 examples, test has 13 examples, now .* 20 examples, test has 1 example without labels;"
    with pytest.raises(ValueError, match=said):
        finetune_here(finished | {"seeds": 2, "resume": "auto"})
    for file, text in kept.items():
        file.write_text(text)


@pytest.mark.parametrize(("name", "split"), [("train", "train"), ("dev", "validation"), ("test", "test")])
def test_more_seeds_of_a_file_with_other_words_are_refused(finished: Settings, name: str, split: str) -> None:
    """As many examples, one of them with another text."""
    file = Path(str(finished["task.path"])) / f"{name}.tsv"
    kept = file.read_text()
    lines = kept.splitlines()
    lines[1] = "alpha alpha " + lines[1]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=f"in more than the seed: the {split} examples have changed; another"):
        finetune_here(finished | {"seeds": 2, "resume": "auto"})
    file.write_text(kept)


def test_a_command_that_scores_or_trains_holds_the_whole_folder(
    finished: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(Path(str(finished["output_dir"])) / "run")
    with monkeypatch.context() as patched, run.locked():
        patched.setattr(RunFolder, "locked", partialmethod(RunFolder.locked, wait_seconds=0.0))
        with pytest.raises(ValueError, match=r"another process trains in .*run; end it, or take another run_name"):
            finetune_here(finished | {"resume": "auto"})
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "locked", lambda folder: nullcontext(True))
        with pytest.raises(ValueError, match=r"has meanwhile gone on in .*run; give the same command again"):
            finetune_here(finished | {"resume": "auto"})


def test_the_end_of_a_seed_is_made_up_for(finished: Settings, tmp_path: Path) -> None:
    """It was killed after its last row, before its report and its scores."""
    copy = tmp_path / "runs"
    shutil.copytree(Path(str(finished["output_dir"])), copy)
    run, seed = copy / "run", RunFolder(copy / "run" / "seed-0")
    rows, scores = repeatable(seed.path), (run / "scores.json").read_text()
    for path in (run / "scores.json", seed.path / "scores.json", seed.ended_file):
        path.unlink()
    report: Settings = {"callbacks.report": "{_target_:bert_lightning.callbacks.reporting.Report,run_dir:${run_dir}}"}
    finetune_here(finished | {"resume": "auto", "output_dir": copy} | report)
    assert (run / "scores.json").read_text() == scores
    assert repeatable(seed.path) == rows
    assert seed.report.exists()
    assert seed.has_ended(max(rows))


def test_a_moved_folder_and_other_devices_go_on(finished: Settings, tmp_path: Path) -> None:
    (tmp_path / "moved").symlink_to(Path(str(finished["output_dir"])))
    more: Settings = {"output_dir": tmp_path / "moved", "data.micro_batch_size": 8, "trainer.log_every_n_steps": 1}
    metrics = finetune_here(finished | more | {"seeds": 2, "resume": "auto"})
    assert list(metrics["validation/accuracy"]["values"]) == ["0", "1"]


def test_a_point_that_diverges_is_left_out(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    given = settings(tmp_path, tokenizer) | {"grid": True, "grid_batch_size": "[20]", "max_skipped_steps": 1}
    finetune_here(given | {"grid_lr": "[1e30,1e-3]"})
    run = tmp_path / "runs" / "run"
    scores = json.loads((run / "scores.json").read_text())
    assert (scores["winner"], scores["diverged"]) == ("lr-0.001_batch-20", ["lr-1e+30_batch-20"])
    assert list(scores["grid"]) == ["lr-0.001_batch-20"]
    assert "lr-1e+30_batch-20 is left out, its training diverged: the loss or its gradients" in caplog.text
    assert "diverged" in (run / "report.html").read_text()
    with pytest.raises(ValueError, match="the training of every point of the grid diverged: the loss or its"):
        finetune_here(given | {"grid_lr": "[1e30]", "run_name": "none"})
