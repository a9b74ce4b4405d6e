"""A plain sweep of bert-finetune from the command line."""

import json
from pathlib import Path

from tokenizers import Tokenizer

from tests.finetuning.tiny_task import settings
from tests.support.checkout import run_command
from tests.support.settings import overrides


def test_points_do_not_share_their_seeds(tmp_path: Path, tokenizer: Tokenizer) -> None:
    given = {key: value for key, value in settings(tmp_path, tokenizer).items() if key != "optimizer.lr"}
    words = overrides(given | {"epochs": 1, "resume": "auto", "callbacks.report": "null"})
    finished = run_command("finetune", "--multirun", *words, "optimizer.lr=1e-3,3e-3", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    for rate in ("0.001", "0.003"):
        scores = json.loads((tmp_path / "runs" / "run" / f"optimizer.lr={rate}" / "scores.json").read_text())
        assert list(scores["metrics"]["validation/accuracy"]["values"]) == ["0"]
        assert f"optimizer.lr={rate}" in finished.stdout
    assert finished.stdout.count("finished") == 2
    assert not (tmp_path / "runs" / "run" / "seed-0").exists()
